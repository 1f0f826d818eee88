"""Attacks what algorithms upload: how much of a client's images can its server see?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files, config
from simulations.privacy.picture import picture
from simulations.privacy.settings import AttackSettings
from simulations.privacy.study import Study, attack_results, run
from simulations.settings import parse_options, parse_privacy

COLUMNS = (
    *("algorithm", "uploads", "images", "PSNR, dB", "SSIM", "labels"),
    *("identified", "by chance", "other images, dB", "their mean, dB", "start, dB"),
)
OWN = ("algorithm", "samples", "seeds", "set_", "out")


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop privacy` with these arguments."""
    return console.run(command, "privacy", arguments)


def command(  # noqa: PLR0913 - an option each
    algorithm: Annotated[
        list[str], typer.Argument(help="Algorithms to attack: fedavg fedproto ...")
    ],
    data: Annotated[str, typer.Option(help="Image data set: a folder, a file, or fashion-sample.")],
    partition: Annotated[
        str | None, typer.Option(help="Partition: iid, pathological, dirichlet, exdir, or natural.")
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="Number of clients. [default: 5, or the data's own]")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side length, in pixels, to resize image files to.")
    ] = None,
    client: Annotated[int, typer.Option(help="Number of the attacked client.")] = 0,
    samples: Annotated[
        str, typer.Option(help="Numbers of images in the batch, or in a prototype.")
    ] = "1,4",
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of seeds: weights, victims and starting points.")
    ] = 5,
    model: Annotated[str, typer.Option(help="The client's architecture.")] = "cnn",
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth/--as-is", help="Replace ReLU by GELU and max pooling by averages, or not."
        ),
    ] = True,
    width: Annotated[int, typer.Option(help="Feature width K.")] = 512,
    epochs: Annotated[
        int, typer.Option(help="Epochs that the model was trained before the attack.")
    ] = 0,
    knowledge: Annotated[
        str, typer.Option(help="What the attacker knows of parts not sent: model, or surrogate.")
    ] = "model",
    labels: Annotated[str, typer.Option(help="Labels: inferred where possible, or searched.")] = (
        "inferred"
    ),
    objective: Annotated[
        str, typer.Option(help="Objective: squared (DLG), or cosine.")
    ] = "squared",
    iterations: Annotated[
        int, typer.Option(help="Largest number of iterations of the search.")
    ] = 400,
    variation: Annotated[
        float | None,
        typer.Option(help="Weight of total variation. [default: 1e-5, else 1e-2: see the docs]"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A hyperparameter: key=value.")
    ] = None,
    privacy: Annotated[
        list[str] | None,
        typer.Option(help="The client trains with noise: noise=1, clip=1. May be repeated."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Output folder; running again resumes the study.")
    ] = Path("runs/privacy"),
) -> None:
    """Attack real uploads of algorithms, and say how like the client's images the outcome is."""
    table = {name: value for name, value in locals().items() if name not in OWN}
    table["options"] = parse_options(set_ or [])
    table["privacy"] = parse_privacy(privacy or [])
    chosen = config.parse(table, AttackSettings, "privacy")
    study = Study(chosen, tuple(dict.fromkeys(algorithm)), parse_counts(samples), seeds, out)
    with console.progress("attacks", len(study.attacks())) as report:
        summary = run(study, report)
    atomic_files.write(out / "privacy.png", picture(attack_results(study)))
    _show(summary, out)


def parse_counts(text: str) -> tuple[int, ...]:
    """Read numbers of images, as in 1,2,4.

    Raises:
        ConfigError: naming what is none.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise ConfigError("samples", f"{word!r} is no number above 0", "write 1,2,4")
    return tuple(dict.fromkeys(int(word) for word in words))


def _show(summary: Mapping[str, Any], out: Path) -> None:
    rows = [
        [
            *(row["algorithm"], row["uploads"], row["samples"]),
            *(_words(row["psnr"], 1), _words(row["ssim"], 2)),
            *(
                f"{100 * row[key]['mean']:.0f} %"
                for key in ("labels", "identified", "identified_by_chance")
            ),
            *(_words(row[f"psnr_{key}"], 1) for key in ("others", "class_mean", "start")),
        ]
        for row in summary["attacks"]
    ]
    console.table(f"{summary['seeds']} seeds, mean ± std", COLUMNS, rows)
    console.say(f"results: {out}")


def _words(found: Mapping[str, Any], digits: int) -> str:
    mean = f"{found['mean']:.{digits}f}"
    return mean if found["std"] is None else f"{mean} ± {found['std']:.{digits}f}"
