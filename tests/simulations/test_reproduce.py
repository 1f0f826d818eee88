"""Scenarios: files that are checked, cells that are run or resumed, and the table of them."""

# Over 320 lines: every case is one scenario of two small runs.

import json
import math
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from edgeloop.errors import ConfigError
from simulations.reproduce import scenario as scenarios
from simulations.reproduce.scenario import Cell
from simulations.reproduce.table import (
    Entry,
    entry,
    format_entry,
    markdown,
    measured_value,
    orders,
    spearman,
    table,
)

SMALL = """
title = "Small"
question = "Does it run?"
source = "ours"
seeds = 2
measures = ["best", "upload"]

[settings]
data = "fashion-sample"
partition = "iid"
clients = 2
samples = 400
rounds = 1
width = 8
options = { local_lr = 0.05 }

[[rows]]
name = "Local"
settings = { algorithm = "local" }

[[rows]]
name = "FedProto"
settings = { algorithm = "fedproto", options = { pull = 2.0 } }

[[columns]]
name = "IID"

[[columns]]
name = "two classes"
settings = { partition = "pathological", classes_per_client = 5, balanced = true }

[cpu]
seeds = 1
note = "Smaller."
settings = { models = "cnn-flat2", width = 4, samples = 300 }

[paper.FedProto]
"IID, best" = [50.0, 1.0]
"""

BESIDE = """
[[cpu.columns]]
name = "small"
beside = "II"

[paper.FedProto]
"""

PUBLISHED = [
    ("FedTGP", "Flowers102, pathological", {"fedktl-table-1": [68.98, 0.43]}),
    ("FedKTL", "Tiny-ImageNet, practical", {"fedktl-table-1": [28.17, 0.18]}),
    ("FedKTL", "200 clients", {"fedktl-table-2": [34.24, 0.45]}),
    ("FedTGP", "HtFE8-HtC4", {"fedtgp-table-2": [44.53, 0.16]}),
    ("FedKTL", "download", {"fedktl-table-5": [7.17]}),
    ("FedGen", "up and down", {"fedtgp-table-5": [8.69]}),
    ("SCL", "Flowers102, practical", {"fedtgp-table-6": [46.81]}),
    ("w/o F", "Flowers102, practical", {"fedtgp-table-6": [49.39]}),
    ("KTL", "2-shot", {"fedktl-table-9": [8.76, 2.25]}),
    ("FedTGP", "best", {"har-all": [64.63]}),
    ("CIFAR-10, pathological", "last", {"class-statistics": [90.02, 0.3]}),
    ("CIFAR-100, practical, 50 clients", "last", {"class-statistics": [43.17, 0.23]}),
    ("CIFAR-100, practical, 200 clients", "last", {"class-statistics": [34.24, 0.45]}),
]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["reproduce", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", scenarios.names())
def test_every_scenario_is_right(name: str) -> None:
    """`load` checks every cell's settings at both scales, and its group of models."""
    found = scenarios.load(name)
    assert found.question.endswith("?")
    assert found.plan("paper").cells()


def test_the_papers_tables_are_there() -> None:
    tables = {f"fedktl-table-{n}" for n in (1, 2, 5, 6, 8, 9)}
    assert tables | {"fedtgp-table-1", "har-all", "htcnn8-cifar10", "long"} <= set(
        scenarios.names()
    )
    first = scenarios.load("fedktl-table-1")
    assert first.paper["FedKTL"]["Flowers102, pathological"] == (64.72, 0.62)
    assert first.paper["FedTGP"]["CIFAR-10, practical"] == (88.15, 0.43)
    assert len(first.plan("paper").cells()) == 9 * 8
    last = scenarios.load("fedktl-table-9")
    assert last.paper["KTL"]["2-shot"] == (8.76, 2.25)


def test_a_cell_merges_its_settings(small: Path) -> None:
    cells = scenarios.load(str(small)).plan("cpu").cells()
    found = cells[Cell("FedProto", "two classes")]
    assert found["partition"] == "pathological"
    assert found["options"] == {"local_lr": 0.05, "pull": 2.0}
    assert found["models"] == "cnn-flat2"
    assert (found["width"], found["workers"]) == (4, 1)


def test_only_keeps_what_matches(small: Path) -> None:
    plan = scenarios.load(str(small)).plan("paper")
    assert [row.name for row in plan.only({"algorithm": "FedProto"}).rows] == ["FedProto"]
    chosen = plan.only({"column": "iid", "row": "local"})
    assert list(chosen.cells()) == [Cell("Local", "IID")]
    with pytest.raises(ConfigError, match=r"only: nothing is row=FedKD; .* Local, FedProto, IID"):
        plan.only({"row": "FedKD"})


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("seeds = 2", "seed = 2", "seed: there is no such key; did you mean seeds"),
        ("rounds = 1", "round = 1", "Local, IID: round: there is no such key; did you mean rounds"),
        ('"best", "upload"', '"beast"', "measures.0: there is no 'beast'; did you mean best"),
        ("[paper.FedProto]", "[paper.FedProtto]", "no row or heading; did you mean 'FedProto'"),
        ('"IID, best"', '"IID, last"', "no row or heading; did you mean 'IID, best'"),
        ('models = "cnn-flat2"', 'models = "cnn-flat"', "neither a group nor an architecture"),
        ("[paper.FedProto]", BESIDE, "cpu.columns.small.beside has 'II', which is no row or"),
        ("rounds = 1", "rounds = 0", "rounds: 0 is too small; give 1 or more"),
        ("seeds = 2", 'trials = "day"', "trials: there is no 'day'; choose one of seed, partition"),
        (
            'partition = "iid"',
            'partition = "natural"',
            "trials: small.toml: Local, IID is divided already: every trial would be the same",
        ),
        ("[cpu]", "[cpu", "is no TOML"),
    ],
)
def test_a_wrong_scenario_names_the_key(
    small: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    drawn = 'seeds = 2\ntrials = "partition"' if "natural" in new else "seeds = 2"
    small.write_text(SMALL.replace(old, new, 1).replace("seeds = 2", drawn, 1))
    assert sentence in refused(capsys, str(small)).replace(f"{small.parent}/", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fedktl-table-11"], "there is no 'fedktl-table-11'; did you mean fedktl-table-1"),
        (["fedktl-table-1", "--scale", "big"], "scale: there is no 'big'; choose one of cpu"),
        (["fedktl-table-1", "--only", "row"], "only: 'row' is no key=value"),
        (["fedktl-table-1", "--data", "nowhere"], "below nowhere; give --data FOLDER with cifar10"),
    ],
)
def test_a_wrong_command(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, *words)


def test_a_table_without_a_cpu_part(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, rest = SMALL.partition("[cpu]")
    small.write_text(before + rest[rest.index("[paper") :])
    said = refused(capsys, str(small), "--scale", "cpu")
    assert "scale: Small has none for a CPU; choose --scale paper" in said


@pytest.mark.parametrize("name", scenarios.names())
def test_every_table_of_a_paper_has_a_cpu_part(name: str) -> None:
    assert "-table-" not in name or scenarios.load(name).cpu is not None


def test_a_table_is_run_resumed_and_written(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first = [str(small), "--out", str(out), "--workers", "1", "--only", "row=FedProto"]
    assert main(["reproduce", *first]) == 0
    runs = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert set(runs) == {"fedproto-iid-seed-0", "fedproto-two-classes-seed-0"}
    assert main(["reproduce", *first[:5]]) == 0
    again = {path.name: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert len(again) == 4
    assert {name: again[name] for name in runs} == runs
    content = json.loads((out / "table.json").read_text())
    cell = content["cells"]["FedProto"]["IID, best"]
    summary = json.loads((out / "runs" / "fedproto-iid-seed-0" / "summary.json").read_text())
    assert cell["mean"] == pytest.approx(100 * summary["best_accuracy"])
    assert cell["paper"] == 50.0
    assert content["partitions"]["IID"] == [summary["config"]["partition_fingerprint"]]
    text = (out / "table.md").read_text()
    assert "not comparable with the published, in brackets. Smaller." in text
    assert "(50.00 ± 1.00)" in text
    assert "**" not in text, "nothing is judged at a CPU's scale"
    assert "Units: upload: millions of numbers a round, all clients." in text
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "Small" in capsys.readouterr().out


def test_trials_with_a_partition_each(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measures = '"last", "all bytes up", "all bytes down", "core seconds"'
    text = SMALL.replace("seeds = 2", 'seeds = 2\ntrials = "partition"')
    text = text.replace('"best", "upload"', measures).replace("IID, best", "IID, last")
    small.write_text(text.replace("seeds = 1", "seeds = 2"))
    out = tmp_path / "out"
    words = [str(small), "--out", str(out), "--workers", "1", "--only", "row=FedProto"]
    assert main(["reproduce", *words, "--only", "column=IID"]) == 0
    assert "FedProto, IID, partition 2: " in capsys.readouterr().err
    folders = [out / "runs" / f"fedproto-iid-partition-{n}" for n in (1, 2)]
    held = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [each["config"]["partition_seed"] for each in held] == [1, 2]
    assert [each["config"]["seed"] for each in held] == [0, 0]
    content = json.loads((out / "table.json").read_text())
    assert len(content["partitions"]["IID"]) == 2
    cells = content["cells"]["FedProto"]
    expected = [each["seconds"]["processor"] for each in held]
    assert cells["IID, core seconds"]["mean"] == pytest.approx(sum(expected) / 2)
    assert min(expected) > 0
    last = [(folder / "rounds.csv").read_text().splitlines()[-1].split(",") for folder in folders]
    alone = [each["bytes_down_per_client"] for each in held]
    told = sum(one + int(row[8]) / 2 for one, row in zip(alone, last, strict=True)) / 2000
    assert cells["IID, all bytes down"]["mean"] == pytest.approx(told)
    assert "2 trials, each with a partition of its own" in (out / "table.md").read_text()


def test_a_partitions_trials_begin_where_the_scenario_says(small: Path) -> None:
    small.write_text(SMALL.replace("seeds = 2", 'seeds = 2\ntrials = "partition"'))
    plan = scenarios.load(str(small)).plan("paper")
    table = {"partition_seed": 7, "seed": 3}
    assert plan.trial(table, 2) == {"partition_seed": 9, "seed": 3}
    assert plan.trial({}, 0) == {"partition_seed": 1}
    small.write_text(SMALL)
    plan = scenarios.load(str(small)).plan("paper")
    assert plan.trial(table, 2) == {"partition_seed": 7, "seed": 2}


def test_a_smaller_column_beside_a_published_one(small: Path) -> None:
    small.write_text(SMALL.replace("[paper.FedProto]", BESIDE.replace('"II"', '"IID"'), 1))
    plan = scenarios.load(str(small)).plan("cpu")
    assert [column.name for column in plan.columns] == ["small"]
    assert plan.scenario.published("FedProto", plan.columns[0], "best") == (50.0, 1.0)
    assert plan.scenario.published("FedProto", plan.columns[0], "upload") == ()
    assert plan.scenario.published("Local", plan.columns[0], "best") == ()
    summary = {"best_accuracy": 0.4, "floats_up_per_client": 1, "model_by_client": {"a": "cnn"}}
    found = table(plan, {Cell("FedProto", "small"): [summary]})
    assert found["FedProto"]["small, best"] == entry([40.0], (50.0, 1.0))
    assert "Published numbers: small beside IID." in markdown(plan, "cpu", found)


def test_two_cells_of_one_folder(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(SMALL.replace('"two classes"', '"IID!"'))
    words = "('Local', 'IID') and ('Local', 'IID!') have one folder, local-iid-seed-0"
    assert words in refused(capsys, str(small))
    small.write_text(SMALL.replace('"two classes"', '"IID τ"'))
    assert main(["reproduce", str(small), "--dry-run"]) == 0


def test_a_dry_run_shows_the_cells(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", str(small), "--dry-run", "--rounds", "7"]) == 0
    text = capsys.readouterr().out
    assert "two classes" in text
    assert "│ 7 " in text


def test_the_list_shows_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in scenarios.names())
    assert "paper: 9 x 8 cells, 3 trials" in text


def test_an_entry_differs_beyond_twice_the_joint_spread() -> None:
    # Ours 50 and 52: mean 51, population std 1. With a published std of 1: 2 * sqrt(2) = 2.83.
    assert entry([50.0, 52.0], (53.8, 1.0)) == Entry(51.0, 1.0, 53.8, 1.0, False)
    assert entry([50.0, 52.0], (53.9, 1.0)).differs is True
    assert entry([50.0, 52.0], (53.1,)).differs is True
    assert entry([50.0], (53.0,)).differs is None
    assert entry([50.0], ()) == Entry(50.0, None)


def test_words_of_an_entry() -> None:
    assert format_entry(None) == ""
    assert format_entry(Entry(51.0, 1.0)) == "51.00 ± 1.00"
    assert format_entry(Entry(51.0, 1.0, 60.0, 1.0, True)) == "**51.00 ± 1.00 (60.00 ± 1.00)**"


def test_ranks_are_compared() -> None:
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # Ranks 0, 1.5, 1.5 against 0, 1, 2: covariance 1.5, variances 1.5 and 2.
    assert spearman([1, 5, 5], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert spearman([1, 1, 1], [1, 2, 3]) == 0.0
    found = {name: {"a": Entry(value, None, value)} for name, value in (("x", 1.0), ("y", 2.0))}
    assert orders(found, ["a"]) == {}
    assert orders({**found, "z": {"a": Entry(3.0, None, 0.0)}}, ["a"]) == {"a": -0.5}


@pytest.mark.parametrize(("row", "heading", "numbers"), PUBLISHED)
def test_numbers_as_published(row: str, heading: str, numbers: dict[str, list[float]]) -> None:
    for name, expected in numbers.items():
        assert list(scenarios.load(name).paper[row][heading]) == expected


def test_measures_and_their_units() -> None:
    summary: dict[str, Any] = {
        "model_by_client": {"a": "cnn", "b": "cnn"},
        "best_accuracy": 0.5,
        "final_accuracy": 0.25,
        "floats_up_per_client": 1_000_000,
        "numbers_down_per_client": 500_000,
        "bytes_up_per_client": 1500,
        "bytes_down_per_client": 3000,
        "seconds_per_round": 0.7,
        "all_bytes_up_per_client": 2500,
        "all_bytes_down_per_client": 4000,
        "seconds": {"wall": 5.0, "processor": 9.0},
    }
    found = {
        "best": 50.0,
        "last": 25.0,
        "upload": 2.0,
        "download": 1.0,
        "both": 3.0,
        "bytes up": 1.5,
        "bytes down": 3.0,
        "seconds": 0.7,
        "all bytes up": 2.5,
        "all bytes down": 4.0,
        "core seconds": 9.0,
    }
    for measure, expected in found.items():
        assert measured_value(summary, measure) == pytest.approx(expected)  # type: ignore[arg-type]  # a str of the literal's


def test_one_client_of_a_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "local", "--data", "fashion-sample", "--partition", "iid", "--rounds", "1"]
    words += [
        "--clients",
        "3",
        "--samples",
        "400",
        "--models",
        "cnn-flat2",
        "--out",
        str(tmp_path / "r"),
    ]
    assert main([*words, "--only-client", "1"]) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert len(summary["samples_by_client"]) == 1
    assert main([*words[:-1], str(tmp_path / "s"), "--only-client", "3"]) == 2
    assert "client 3: does not exist: the clients are 0 to 2" in capsys.readouterr().err
