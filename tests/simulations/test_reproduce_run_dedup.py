"""Runs that several cells or tables ask for: made once, and in all of their folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from simulations.engine.batch import Job
from simulations.reproduce import run_dedup
from simulations.settings import RunSettings

TWINS = """
title = "Twins"
question = "Is it one run?"
source = "ours"
seeds = 1

[settings]
data = "fashion-sample"
partition = "dirichlet"
alpha = 1.0
models = "cnn-flat2"
samples = 80
rounds = 1
width = 8
algorithm = "fedtgp"
clients = 2

[[rows]]
name = ""

[[columns]]
name = "cap 100"
settings = { options = { margin_cap = 100.0 } }

[[columns]]
name = "5 epochs"
settings = { options = { server_epochs = 5 } }

[[columns]]
name = "default"

[[columns]]
name = "100 epochs"
settings = { options = { server_epochs = 100 } }
"""


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    path = tmp_path / "twins.toml"
    path.write_text(TWINS)
    return path


def reproduce(path: Path, out: Path, *further: str) -> None:
    assert main(["reproduce", str(path), "--out", str(out), "--workers", "1", *further]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tables, of which one has a finished run, and the table's file."""
    place = tmp_path_factory.mktemp("finished")
    (place / "twins.toml").write_text(TWINS)
    reproduce(place / "twins.toml", place / "first", "--only", "column=cap 100")
    return place


def rounds(out: Path, name: str) -> Path:
    return out / "runs" / f"{name}-seed-0" / "rounds.csv"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_cells_that_are_the_same_run(
    twins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all" / "twins"
    reproduce(twins, out, "--dry-run")
    assert "2 of 2 runs left" in capsys.readouterr().out
    reproduce(twins, out)
    assert rounds(out, "default").samefile(rounds(out, "cap-100"))
    assert rounds(out, "100-epochs").samefile(rounds(out, "cap-100"))
    assert not rounds(out, "5-epochs").samefile(rounds(out, "cap-100"))
    asked = {"cap-100": {"margin_cap": 100.0}, "default": {}, "100-epochs": {"server_epochs": 100}}
    for name, options in asked.items():
        folder = rounds(out, name).parent
        assert read(folder / "run.json")["options"] == options
        assert read(folder / "summary.json")["config"]["options"] == options
    cells = read(out / "table.json")["cells"][""]
    assert set(cells) == {"cap 100", "5 epochs", "default", "100 epochs"}
    assert cells["default"] == cells["cap 100"] == cells["100 epochs"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}
    reproduce(twins, out)
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")} == before


def test_another_table_has_it(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = shutil.copytree(finished, tmp_path / "all")
    twins = place / "twins.toml"
    capsys.readouterr()
    reproduce(twins, place / "second", "--dry-run")
    assert "1 of 1 runs left" in (said := capsys.readouterr().out)
    assert "3 taken from finished tables" in said
    reproduce(twins, place / "second")
    source = rounds(place / "first", "cap-100")
    assert rounds(place / "second", "default").samefile(source)
    assert not rounds(place / "second", "5-epochs").samefile(source)

    reproduce(twins, place / "third", "--only", "column=default", "--no-share")
    alone = rounds(place / "third", "default")
    assert not alone.samefile(source)
    hashes = [read(path.with_name("summary.json"))["knowledge_sha256"] for path in (alone, source)]
    assert hashes[0] == hashes[1], "a taken run is what the cell's own would have been"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("run.json", {"seed": 7}),
        ("run.json", {"samples": 90}),
        ("run.json", {"device": "cuda"}),
        ("run.json", {"versions": {"edgeloop": "0.0.1"}}),
        ("run.json", {"algorithm": "of another release"}),
        ("run.json", None),
        ("summary.json", None),
    ],
)
def test_what_is_not_the_same_is_not_taken(
    finished: Path,
    tmp_path: Path,
    file: str,
    change: dict[str, Any] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = shutil.copytree(finished, tmp_path / "all")
    ask = (place / "twins.toml", place / "second", "--only", "column=cap 100", "--dry-run")
    reproduce(*ask)
    assert "1 taken from finished tables" in capsys.readouterr().out
    held = rounds(place / "first", "cap-100").with_name(file)
    if change is None:
        held.unlink()
    else:
        held.write_text(json.dumps({**read(held), **change}))
    reproduce(*ask)
    said = capsys.readouterr().out
    assert "1 of 1 runs left" in said
    assert "taken from finished tables" not in said


def test_a_begun_run_goes_on_by_itself(settings: RunSettings, tmp_path: Path) -> None:
    jobs = {name: Job(settings, tmp_path / "t" / "runs" / name) for name in ("a", "b", "c")}
    jobs["b"].folder.mkdir(parents=True)
    shared = run_dedup.find_duplicates(jobs, tmp_path)
    assert shared.leaders == {"a": "b", "b": "b", "c": "b"}
    assert run_dedup.followers(shared, "b") == ["a", "c"]
    jobs["c"].folder.mkdir()
    assert run_dedup.find_duplicates(jobs, tmp_path).leaders == {"a": "b", "b": "b", "c": "c"}
    other = Job(settings.model_copy(update={"history": True}), tmp_path / "t" / "runs" / "d")
    assert run_dedup.find_duplicates({**jobs, "d": other}, tmp_path).leaders["d"] == "d"


def test_copies_where_there_are_no_links(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    source = tmp_path / "source"
    source.mkdir()
    (source / "rounds.csv").write_text("round\n")
    (source / "run.json").write_text('{"options": {"x": 1}}')
    (source / "summary.json").write_text('{"config": {"options": {"x": 1}}}')
    job = Job(settings, tmp_path / "t" / "runs" / "a")
    crashed = job.folder.with_name(".a.new")
    crashed.mkdir(parents=True)
    (crashed / "left").touch()
    assert run_dedup.reuse_run(source, job)["config"]["options"] == settings.options
    assert sorted(path.name for path in job.folder.iterdir()) == [
        "rounds.csv",
        "run.json",
        "summary.json",
    ]
    assert not (job.folder / "rounds.csv").samefile(source / "rounds.csv")
    assert read(source / "run.json") == {"options": {"x": 1}}
    assert not crashed.exists()
