"""One client and the cloud: the three baselines at 2, 9 and 23 shots, beside the paper's Table 9.

Runs are kept under runs/ktl: the same command continues after a stop.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import environment
from edgeloop.cli import console
from edgeloop.runtime import atomic_files
from simulations.ktl.picture import pictures
from simulations.ktl.rows import PAPER, ROWS
from simulations.ktl.study import CLIENTS, Study, run

DOCUMENT = environment.ROOT / "docs" / "exchange.md"
LENGTHS: Mapping[int, tuple[int, int]] = {2: (200, 80), 9: (100, 40), 23: (60, 30)}
"""By shots: rounds at most, and without a new best one. A round of more samples is more steps."""


def main(  # noqa: PLR0913 - an option each
    data: Annotated[
        Path | None, typer.Option(help="The folder of cifar100; else $EDGELOOP_DATA.")
    ] = None,
    shots: Annotated[str, typer.Option(help="Training samples a class.")] = "2,9,23",
    seeds: Annotated[int, typer.Option(min=1, help="How many clients.")] = CLIENTS,
    client: Annotated[
        int | None, typer.Option(help="The same in every run, as in the paper. [default: another]")
    ] = None,
    test_samples: Annotated[
        int | None, typer.Option(help="Of all clients. [default: 2000]")
    ] = None,
    generator: Annotated[str, typer.Option(help="Of the catalogue.")] = "gan-face",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one a core]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs/ktl"),
) -> None:
    """Run what is missing, then write benchmarks/results/ktl.md and the docs' table and picture."""
    source = str((data or environment.data()) / "cifar100")
    found = {
        number: _studied(
            Study(
                data=source,
                shots=number,
                seeds=seeds,
                client=client,
                test_samples=test_samples,
                rounds=LENGTHS.get(number, LENGTHS[2])[0],
                patience=LENGTHS.get(number, LENGTHS[2])[1],
                generator=generator,
                workers=workers or "auto",
                folder=out / str(number),
            )
        )
        for number in map(int, shots.split(","))
    }
    title = f"CIFAR-100, the 4-layer CNN, generator {generator}, {seeds} clients"
    text = f"{title}\n\n{table(found)}"
    environment.write("ktl", {"machine": environment.machine(), "shots": found}, text)
    environment.embed(DOCUMENT, "ktl", text)
    atomic_files.write(environment.ROOT / "docs" / "images" / "ktl.png", pictures(found, PAPER))


def _studied(study: Study) -> dict[str, Any]:
    total = (study.seeds or CLIENTS) * len(study.baselines)
    with console.progress(f"{study.shots}-shot", total) as report:
        finished: list[str] = []

        def done(title: str, summary: Mapping[str, Any]) -> None:
            finished.append(title)
            report(len(finished), f"{title}: best {summary['best_accuracy']:.4f}")

        return run(study, done)


def table(found: Mapping[int, Mapping[str, Any]]) -> str:
    """Return the table in Markdown, per cent."""
    columns = ("", *(f"{shots}-shot" for shots in found))
    rows: list[list[str]] = []
    for name in (each for each in ROWS if each in next(iter(found.values()))["baselines"]):
        rows.append(
            [f"{name}, best round", *(_words(each["baselines"][name]) for each in found.values())]
        )
        rows.append(
            [f"{name}, last round", *(_words(each["last_round"][name]) for each in found.values())]
        )
        if any(name in PAPER.get(shots, {}) for shots in found):
            rows.append([f"{name}, paper", *(_published(shots, name) for shots in found)])
    for name in next(iter(found.values()))["differences"]:
        rows.append([name, *(_words(each["differences"][name]) for each in found.values())])
    samples = (each["samples"] for each in found.values())
    rows.append(["rounds at most", *(str(each["rounds"]) for each in found.values())])
    rows.append(
        ["training / test images", *(f"{each['train']} / {each['test']}" for each in samples)]
    )
    return environment.markdown(columns, rows)


def _words(found: Mapping[str, Any]) -> str:
    mean = f"{100 * found['mean']:.2f}"
    return mean if found["ci95"] is None else f"{mean} ± {100 * found['ci95']:.2f}"


def _published(shots: int, name: str) -> str:
    numbers = PAPER.get(shots, {}).get(name)
    return "" if numbers is None else f"{numbers[0]:.2f} (std {numbers[1]:.2f})"


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "ktl"))
