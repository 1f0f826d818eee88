from pathlib import Path

import pytest

from benchmarks import exchange
from benchmarks.exchange import ENTRIES, WORLDS, World
from simulations.batch import Summary

ALONE = [[0.1, 0.5, 0.6, 0.7], [0.1, 0.5, 0.6, 0.7]]
OTHER = [[0.0, 0.7, 0.6, 0.6], [0.0, 0.5, 0.8, 0.7]]


def runs(accuracies: list[list[float]]) -> list[Summary]:
    return [{"accuracy_by_round": each} for each in accuracies]


def test_ahead_is_where_the_mean_is_above_local_after_training() -> None:
    assert exchange.ahead(OTHER, ALONE) == [1, 2]
    assert exchange.ahead(ALONE, ALONE) == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], "none"), ([3], "3"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10")],
)
def test_neighbours_are_written_as_spans(numbers: list[int], words: str) -> None:
    assert exchange.spans(numbers) == words


def test_a_world_is_a_table_with_means_spreads_and_paired_gains() -> None:
    world = World("a world", "har", {}, {"FedTGP": (1, 0.5054)})
    text = exchange.section(world, {"Local": runs(ALONE), "FedTGP": runs(OTHER)})
    assert "**a world**, 3 rounds, mean ± population std of 2 seeds" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| FedTGP")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["0.600 ± 0.100", "0.750 ± 0.050", "-0.050 ± 0.050", "1-2", "r1 0.505"]


def test_every_world_and_entry_is_a_run_that_the_simulation_takes() -> None:
    folders = set()
    for name in WORLDS:
        for entry in ENTRIES:
            settings = exchange.settings(name, entry, 1, Path("data"))
            settings.check()
            assert (settings.seed, settings.workers, settings.rounds) == (1, 1, 30)
            folders.add(f"{name}/{exchange.slug(entry, 1)}")
    assert len(folders) == len(WORLDS) * len(ENTRIES)
