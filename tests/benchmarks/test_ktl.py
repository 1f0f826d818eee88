from typing import Any

from benchmarks import ktl
from simulations.ktl.picture import pictures
from simulations.results.seed_statistics import describe_values


def study(shots: int) -> dict[str, Any]:
    runs = {"local": [0.04, 0.06], "etf-only": [0.05, 0.05], "ktl": [0.08, 0.10]}
    return {
        "shots": shots,
        "rounds": 200,
        "samples": {"train": 225, "test": 75},
        "baselines": {name: describe_values(values) for name, values in runs.items()},
        "last_round": {name: describe_values([value / 2 for value in runs[name]]) for name in runs},
        "differences": {"ktl - local": describe_values([0.04, 0.04])},
    }


def test_the_table_has_ours_beside_the_papers() -> None:
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (
            line.split("|") for line in ktl.table({2: study(2), 5: study(5)}).splitlines()
        )
    }
    assert rows[""] == ["2-shot", "5-shot"]
    assert rows["ktl, best round"] == ["9.00 ± 12.71"] * 2
    assert rows["ktl, last round"] == ["4.50 ± 6.35"] * 2
    assert rows["ktl, paper"] == ["8.76 (std 2.25)", ""]
    assert rows["ktl - local"] == ["4.00 ± 0.00"] * 2
    assert rows["rounds at most"] == ["200"] * 2
    assert rows["training / test images"] == ["225 / 75"] * 2


def test_studies_are_drawn_side_by_side() -> None:
    assert pictures({2: study(2), 9: study(9)}, {2: {"ktl": (8.76, 2.25)}}).startswith(b"\x89PNG")
