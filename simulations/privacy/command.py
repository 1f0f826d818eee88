"""Attacks what algorithms upload: how much of a client's images can its server see?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop.cli import console, options
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import Option
from simulations.privacy.picture import picture
from simulations.privacy.settings import AttackSettings
from simulations.privacy.study import Study, attack_results, run

COLUMNS = (
    *("algorithm", "uploads", "images", "PSNR, dB", "SSIM", "labels"),
    *("identified", "by chance", "other images, dB", "their mean, dB", "start, dB"),
)


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop privacy` with these arguments."""
    return console.run(command, "privacy", arguments)


@options.of(
    AttackSettings,
    "privacy",
    omit=(
        *("layout", "alpha", "classes_per_client", "balanced", "samples", "partition_seed"),
        *("only_client", "shots"),
    ),
    changes={
        "data": Option(help="Image data set: a folder, a file, or fashion-sample."),
        "clients": Option(help="Number of clients. [default: 5, or the data's own]"),
    },
)
def command(
    settings: AttackSettings,
    algorithm: Annotated[
        list[str], typer.Argument(help="Algorithms to attack: fedavg fedproto ...")
    ],
    samples: Annotated[
        str, typer.Option(help="Numbers of images in the batch, or in a prototype.")
    ] = "1,4",
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of seeds: weights, victims and starting points.")
    ] = 5,
    out: Annotated[
        Path, typer.Option(help="Output folder; running again resumes the study.")
    ] = Path("runs/privacy"),
) -> None:
    """Attack real uploads, and measure how similar the outcome is to the client's images."""
    study = Study(settings, tuple(dict.fromkeys(algorithm)), parse_counts(samples), seeds, out)
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
