"""Hyperparameters tried on held-out training samples."""

import json
import shlex
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeloop import data
from edgeloop.cli import console
from edgeloop.cli.main import main
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from edgeloop.errors import ConfigError, InputError
from simulations.commands.simulate import simulate_command as simulate_command
from simulations.settings import RunSettings
from simulations.tuning import command, space, study
from simulations.tuning.held_out import HeldOut
from simulations.tuning.study import Tuning
from tests.bases.served import write_base
from tests.forks import Forks
from tests.generators.tiny import write_tiny

BATCH = 10


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clients of 40 images each."""
    whole = fashion_sample()
    few = Pool(whole.inputs[:160], whole.labels[:160], whole.class_names)
    folder = tmp_path_factory.mktemp("tuning") / "data"
    return data.write(data.split(few, Partition("iid", clients=3)), folder)


def pictures(inputs: NDArray[Any]) -> set[bytes]:
    return {each.tobytes() for each in inputs}


def test_what_is_held_out_is_training_data_and_no_test_sample_is_read(source: Path) -> None:
    federation = data.load(str(source))
    held = HeldOut(federation, share=0.25, kept=BATCH, seed=0)
    for client in range(3):
        whole, part = federation.shards(client), held.shards(client)
        kept, tested = pictures(part.train.inputs), pictures(part.test.inputs)
        assert kept | tested == pictures(whole.train.inputs)
        assert not kept & tested
        assert not tested & pictures(whole.test.inputs)
        assert len(part.test.labels) == round(0.25 * len(whole.train.labels))
        train, test = held.labels(client)
        assert np.array_equal(train, part.train.labels)
        assert np.array_equal(test, part.test.labels)


def test_a_client_keeps_a_batch(source: Path) -> None:
    federation = data.load(str(source))
    train = federation.sizes()[0][0]
    assert HeldOut(federation, 0.25, train - 2, 0).sizes()[0] == (train - 2, 2)
    most = max(size for size, _ in federation.sizes())
    with pytest.raises(ConfigError, match=r"^held-out: no client has more than \d+ training"):
        HeldOut(federation, 0.25, most, 0)


def test_another_seed_holds_out_others(source: Path) -> None:
    federation = data.load(str(source))
    first, again, other = (HeldOut(federation, 0.25, BATCH, seed) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert np.array_equal(first.shards(0).test.inputs, again.shards(0).test.inputs)
    assert not np.array_equal(first.shards(0).test.inputs, other.shards(0).test.inputs)


FACTS = {"classes": 2, "width": 4}


def test_every_combination_is_tried_once() -> None:
    found = space.candidates("fedktl", {"transfer": (0.0, 5.0), "anchor": (0.1, 1.0)}, FACTS)
    assert found == [
        {"transfer": 0.0},  # without a transfer nobody asks the server
        {"transfer": 5.0, "anchor": 0.1},
        {"transfer": 5.0, "anchor": 1.0},
    ]
    own = space.parse("fedktl", [])
    assert set(own) == {"transfer", "anchor", "server_epochs"}
    assert len(space.candidates("fedktl", own, FACTS)) == 13
    assert space.parse("fedtgp", ["margin=1,2.5", "margin_x=a"]) == {
        "margin": (1, 2.5),
        "margin_x": ("a",),
    }


@pytest.mark.parametrize(
    ("algorithm", "words", "problem"),
    [
        ("fedtgp", [], "there is nothing to try of fedtgp where nobody says"),
        ("fedktl", ["transfer"], "is no key=value"),
        ("fedktl", ["transfer=1,"], "is no key=value"),
        ("fedktl", ["transfer=1", "transfer=2"], "transfer comes twice"),
        ("fedktl", ["seed=1,2"], "seed has an option of its own"),
        ("fedktl", ["transfers=1"], "fedktl has no such hyperparameter"),
        ("fedktl", ["transfer=-1"], "-1 is too small; give 0 or more"),
        ("fedktl", ["statistics=running"], "has this hyperparameter no more"),
    ],
)
def test_what_cannot_be_tried(algorithm: str, words: list[str], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        space.candidates(algorithm, space.parse(algorithm, words), FACTS)
    assert problem in str(caught.value)


def tuning(folder: Path, method: study.Method = "halving", rounds: int = 30) -> Tuning:
    settings = RunSettings(algorithm="fedktl", data="x", rounds=rounds)
    return Tuning(settings, {"transfer": (1.0,)}, method, 1, 0.25, folder)


@pytest.mark.parametrize(
    ("count", "rounds", "rungs"),
    [
        (13, 30, [(13, 5), (5, 10), (2, 30)]),
        (9, 90, [(9, 30), (3, 90)]),
        (3, 30, [(3, 30)]),
        (13, 4, [(13, 4), (5, 4), (2, 4)]),
    ],
)
def test_rungs(tmp_path: Path, count: int, rounds: int, rungs: list[tuple[int, int]]) -> None:
    assert tuning(tmp_path, rounds=rounds).rungs(count) == rungs
    assert tuning(tmp_path, "grid", rounds).rungs(count) == [(count, rounds)]


def test_who_trains_alone_beside_one_exchange_trains_as_long_as_in_a_run_of_its_own(
    tmp_path: Path,
) -> None:
    many = tuning(tmp_path, rounds=7)
    one = replace(many, settings=RunSettings(algorithm="class-statistics", data="x", rounds=1))
    assert [many.rounds_beside(name) for name in many.beside] == [7, 7]
    assert [one.rounds_beside(name) for name in one.beside] == [50, 1]


def test_the_score_is_the_mean_of_the_last_fifth() -> None:
    assert study.score({"accuracy_by_round": [0.9, 0.2]}) == 0.2
    ten = [0.0, *(0.5,) * 8, 0.6, 0.8]
    assert study.score({"accuracy_by_round": ten}) == pytest.approx(0.7)


def words(source: Path, generator: Path, out: Path, *further: str) -> list[str]:
    return [
        *("fedktl", "--data", str(source), "--models", "resnet4", "--width", "8"),
        *("--rounds", "2", "--generator", str(generator), "--workers", "1", "--out", str(out)),
        *("--set", "server_epochs=2", "--try", "transfer=0,5,50", "--try", "anchor=0.1,1"),
        *further,
    ]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tuning") / "tiny")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, source: Path, generator: Path) -> Path:
    out = tmp_path_factory.mktemp("tuning") / "out"
    assert command.main(words(source, generator, out)) == 0
    return out


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def test_it_finds_the_best_of_what_was_tried(done: Path, source: Path) -> None:
    found = summary(done)
    assert len(found["candidates"]) == 5
    assert [each["name"] for each in found["beside"]] == ["local", "as it is"]
    scores = {each["name"]: each["score"] for each in [*found["candidates"], *found["beside"]]}
    del scores["local"]
    assert scores[found["best"]] == max(scores.values())
    for each in found["candidates"]:
        run = summary(done / "runs" / "2" / each["name"] / "seed-0")
        assert each["score"] == study.score(run)
        assert run["config"]["hyperparameters"]["transfer"] == each["options"]["transfer"]
        assert run["config"]["hyperparameters"]["server_epochs"] == 2
    held = sum(test for _, test in data.load(str(done / "data")).sizes())
    assert found["held_out_samples"] == held > 20
    whole = data.load(str(source))
    tested = {byte for client in range(3) for byte in pictures(whole.shards(client).test.inputs)}
    used = data.load(str(done / "data"))
    for client in range(3):
        shards = used.shards(client)
        assert not tested & (pictures(shards.train.inputs) | pictures(shards.test.inputs))


def test_the_line_that_it_prints_runs(
    done: Path, source: Path, generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words(source, generator, done)) == 0  # nothing is left to run
    told = capsys.readouterr()
    (line,) = [each for each in told.out.splitlines() if each.startswith("use: ")]
    assert "is no clear" not in told.err
    program, door, *rest = shlex.split(line.removeprefix("use: "))
    assert (program, door) == ("edgeloop", "simulate")
    out = tmp_path / "run"
    assert console.run(simulate_command, "simulate", [*rest, "--out", str(out)]) == 0
    told_of = summary(out)["config"]
    assert told_of["data"] == str(source)
    for name, value in summary(done)["chosen"].items():
        assert told_of["hyperparameters"][name] == value
    assert "hyperparameters = { server_epochs = 2" in told.out


def test_a_line_says_all_of_a_scenario() -> None:
    settings = RunSettings(
        algorithm="fedktl",
        data="my data",
        generator="faces",
        partition="pathological",
        balanced=True,
        clients=4,
        rounds=7,
        options={"margin": 2.5},
        variant="paper",
    )
    told = "edgeloop simulate fedktl --data 'my data' --partition pathological --balanced"
    told += " --clients 4 --rounds 7 --variant paper"
    assert command.command_line(settings, {"bandwidth": "median"}) == (
        f"{told} --generator faces --set margin=2.5 --set 'bandwidth=\"median\"'"
    )
    # Nobody asks one then, and simulate refuses it.
    assert (
        command.command_line(settings, {"transfer": 0})
        == f"{told} --set margin=2.5 --set transfer=0"
    )
    in_a_file = command.in_a_file(settings, {"transfer": 0})
    assert in_a_file == 'variant = "paper"\nhyperparameters = { margin = 2.5, transfer = 0 }'


def test_another_study_is_not_mixed_in(
    done: Path, source: Path, generator: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *words(source, generator, done, "--seeds", "2")]) == 2
    assert "holds another study: seeds (1 there, 2 here)" in capfd.readouterr().err


def test_stopped_it_goes_on(source: Path, generator: Path, tmp_path: Path, forks: Forks) -> None:
    """Ctrl-C after the first run; what was done is not done again."""
    out = tmp_path / "out"
    long = words(source, generator, out, "--rounds", "3")
    started = forks.start(tmp_path, "tune", *long)
    deadline = time.monotonic() + 200
    while not (finished := sorted(out.glob("runs/*/*/seed-0/summary.json"))):
        assert time.monotonic() < deadline, started.said.read_text()
        time.sleep(0.02)
    started.stop(signal.SIGINT)
    status = forks.ended(started)
    assert status == 130, started.said.read_text()
    assert "run the same command again to go on" in started.said.read_text()
    assert not (out / "summary.json").exists()
    kept = finished[0].stat().st_mtime_ns
    assert command.main(long) == 0
    assert finished[0].stat().st_mtime_ns == kept
    assert len(summary(out)["candidates"]) == 5


@pytest.mark.parametrize(
    ("further", "problem"),
    [
        (["--set", "anchor=3"], "anchor is tried too"),
        (["--try", "transfer=1"], "transfer comes twice"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--generator", "nowhere"], "there is no generator 'nowhere'"),
        (["--batch-size", "500"], "no client has more than 500 training samples"),
    ],
)
def test_bad_input(
    further: list[str], problem: str, source: Path, generator: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        command.main(words(source, generator, tmp_path / "out", *further))
    assert problem in str(caught.value)


@pytest.mark.parametrize("named", [True, False])
def test_what_needs_a_base_is_tried_on_the_one_that_is_asked_for(
    named: bool,
    source: Path,
    generator: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = write_base(tmp_path / "base", shape=(1, 28, 28))
    out, wanted = tmp_path / "out", ["--generator", str(generator)]
    if named:
        wanted = ["--base", str(tmp_path / "base")]
    words = ["class-statistics", "--data", str(source), "--try", "form=gaussian,cosine", *wanted]
    words += ["--models", "resnet4", "--width", "8"]
    monkeypatch.setattr(Tuning, "rounds_beside", lambda tuning, name: 2 if name == "local" else 1)
    assert command.main([*words, "--workers", "1", "--out", str(out)]) == 0
    (rounds,) = {each["rounds"] for each in summary(out)["candidates"]}
    assert rounds == 1
    for each in ("form=cosine", "as_it_is"):
        config = summary(next((out / "runs" / "1").glob(f"{each.replace('_', '*')}/seed-0")))[
            "config"
        ]
        assert (config["generator"] is None) is named
        assert (config["hyperparameters"]["base_sha256"] == identity) is named
    alone = summary(out / "runs" / "2" / "local" / "seed-0")["config"]
    assert {e["name"]: e["rounds"] for e in summary(out)["beside"]} == {"local": 2, "as it is": 1}
    assert (alone["base"], alone["generator"]) == (None, None)
    said = capsys.readouterr().out
    assert (f'base = "{tmp_path / "base"}"' in said) is named
    assert (f"--base {tmp_path / 'base'}" in said) is named
