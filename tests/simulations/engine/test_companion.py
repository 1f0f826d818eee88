"""What runs beside a run: that it is a run of its own, changes nothing, and is told of."""

# Over 320 lines: each companion is compared with the same runs.

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.cli.main import main
from edgeloop.errors import ConfigError, InputError, RunError
from edgeloop.runtime import config as files_of_settings
from simulations.commands import compare
from simulations.engine.batch import Job, run_all
from simulations.engine.run import simulate
from simulations.report import command as report
from simulations.results import clients_table, pairing
from simulations.results.groups import group_runs
from simulations.results.runs import find, with_companions
from simulations.settings import RunSettings
from tests.forks import Forks
from tests.simulations.engine.test_resume import lasting, of_clients, untimed


def quiet(done: int, accuracy: float | None) -> None:
    """Watch a run, and say nothing."""


def with_local(settings: RunSettings, **changes: Any) -> RunSettings:
    return RunSettings.model_validate({**settings.model_dump(), "beside": "local", **changes})


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


def without(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a summary says of its run alone."""
    found = {key: value for key, value in lasting(summary).items() if key != "beside"}
    found["config"] = {key: value for key, value in found["config"].items() if key != "beside"}
    return found


def test_one_command_runs_both_and_ends_with_the_sentence(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["simulate", "fedtgp", "--data", str(images), "--width", "16", "--rounds", "2"]
    words += ["--set", "server_epochs=2", "--workers", "1", "--out", str(out)]
    assert main([*words, "--beside", "local"]) == 0
    said = capsys.readouterr()
    told = read(out)["beside"]["local"]
    assert said.out.splitlines()[-1] == told["sentence"]
    assert "fedtgp, then local: 4/4 local: accuracy" in said.err
    assert f"{read(out)['final_accuracy']:.4f} (95 % " in said.out
    assert "test samples)" in said.out
    assert {row["device"] for row in told["rows"]} == {f"client-0{n}" for n in range(3)}
    assert set(told) >= {"mean", "ci95", "devices", "devices_better", "devices_worse", "from_round"}
    alone = read(out / "beside" / "local")
    for row in told["rows"]:
        assert row["accuracy"] == read(out)["accuracy_by_client"][row["device"]]
        assert row["beside"] == alone["accuracy_by_client"][row["device"]]
    differences = [row["difference"] for row in told["rows"]]
    assert told["mean"] == pytest.approx(np.mean(differences))
    half = 4.3026527 * np.std(differences, ddof=1) / np.sqrt(3)
    assert told["ci95"] == pytest.approx([told["mean"] - half, told["mean"] + half])
    assert main([*words, "--beside", "local"]) == 2
    assert "holds this very run, finished" in capsys.readouterr().err


def test_it_changes_nothing_in_the_run(settings: RunSettings, tmp_path: Path) -> None:
    both, one = tmp_path / "both", tmp_path / "one"
    found = simulate(with_local(settings), both, quiet)
    expected = simulate(settings, one, quiet)
    assert without(found) == lasting(expected) | {"config": without(expected)["config"]}
    assert untimed(both) == untimed(one)
    assert of_clients(both) == of_clients(one)
    assert clients_table.hits(both) == clients_table.hits(one)
    for name in ("partition.json", "prototypes.safetensors"):
        assert (both / name).read_bytes() == (one / name).read_bytes()


def test_what_runs_beside_is_the_run_that_it_would_be_alone(
    settings: RunSettings, tmp_path: Path
) -> None:
    simulate(with_local(settings), tmp_path / "both", quiet)
    alone = settings.model_copy(update={"algorithm": "local", "options": {}})
    simulate(alone, tmp_path / "alone", quiet)
    (its,) = find([tmp_path / "both" / "beside"])
    (own,) = find([tmp_path / "alone"])
    assert (its.settings, its.seed) == (own.settings, own.seed)
    assert of_clients(its.folder) == of_clients(own.folder)
    assert clients_table.hits(its.folder) == clients_table.hits(own.folder)


def test_which_samples_are_right_is_kept(settings: RunSettings, tmp_path: Path) -> None:
    kept = []
    for workers in (1, 2):
        chosen = settings.model_copy(update={"workers": workers})
        simulate(chosen, tmp_path / str(workers), quiet)
        kept.append(clients_table.hits(tmp_path / str(workers)))
        for row in clients_table.read(tmp_path / str(workers))[-3:]:
            assert len(kept[-1][row.client]) == row.test_samples
            assert sum(kept[-1][row.client]) == row.test_correct
    assert kept[0] == kept[1]


def test_the_clients_train_alike(settings: RunSettings) -> None:
    asked = with_local(
        settings,
        options={"local_epochs": 3, "local_lr": 0.5, "pull": 2.0, "server_epochs": 2},
        variant="paper",
        history=True,
        patience=3,
        privacy={"noise": 1.0},
        cohort="stacked",
        join_ratio=0.5,
    )
    its = asked.companion("local", rounds=7)
    assert its.options == {"local_epochs": 3, "local_lr": 0.5}
    assert (its.rounds, its.patience, its.variant, its.history) == (7, None, "released", False)
    assert (its.privacy, its.beside, its.cohort, its.join_ratio) == (None, (), "auto", 0.5)
    other = asked.companion("fedproto", rounds=7)
    assert (other.variant, other.privacy) == ("paper", asked.privacy)
    assert "pull" not in other.options
    lent = with_local(settings, algorithm="fedktl", options={}, generator="digits")
    assert lent.companion("local", rounds=1).generator is None
    assert lent.companion("fedktl", rounds=1).generator == "digits"
    own = with_local(settings, algorithm="perfedavg", options={"local_lr": 0.125})
    assert own.companion("local", rounds=1).options["local_lr"] == 0.125


def test_it_has_as_many_rounds_as_patience_left_the_run(
    settings: RunSettings, tmp_path: Path
) -> None:
    rounds: list[int] = []
    asked = with_local(settings, rounds=6, patience=1, options={"local_lr": 1e-9})
    found = simulate(asked, tmp_path / "run", lambda done, _: rounds.append(done))
    done = len(found["accuracy_by_round"]) - 1
    assert done < 6
    assert len(read(tmp_path / "run" / "beside" / "local")["accuracy_by_round"]) == done + 1
    assert rounds[-1] == 12  # what a bar of twice six rounds ends with


def test_several_beside_one(settings: RunSettings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = simulate(with_local(settings, beside="local, fedproto"), run, quiet)
    assert list(found["beside"]) == ["local", "fedproto"]
    assert "aking part" in found["beside"]["local"]["sentence"]
    assert "FedProto" in found["beside"]["fedproto"]["sentence"]
    assert [each.title for each in with_companions(find([run]))] == ["FedTGP", "FedProto", "Local"]


def test_a_finished_run_can_be_added_to(settings: RunSettings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    simulate(settings, run, quiet)
    before = (run / "rounds.csv").stat().st_mtime_ns
    assert list(simulate(with_local(settings), run, quiet)["beside"]) == ["local"]
    local = (run / "beside" / "local" / "rounds.csv").stat().st_mtime_ns
    both = with_local(settings, beside=["local", "fedproto"])
    assert list(simulate(both, run, quiet)["beside"]) == ["local", "fedproto"]
    assert (run / "rounds.csv").stat().st_mtime_ns == before
    assert (run / "beside" / "local" / "rounds.csv").stat().st_mtime_ns == local
    with pytest.raises(RunError, match="holds this very run, finished"):
        simulate(both, run, quiet)
    with pytest.raises(RunError, match=r"another run: .*seed"):
        simulate(with_local(settings, beside="fedavg", models="cnn", seed=3), run, quiet)


def test_what_was_told_of_last_is_not_run_again(settings: RunSettings, tmp_path: Path) -> None:
    """A kill between the end of the run beside and the summary's new line."""
    run = tmp_path / "run"
    whole = simulate(with_local(settings), run, quiet)
    held = {key: value for key, value in whole.items() if key != "beside"}
    (run / "summary.json").write_text(json.dumps(held))
    local = (run / "beside" / "local" / "rounds.csv").stat().st_mtime_ns
    assert simulate(with_local(settings), run, quiet) == whole
    assert (run / "beside" / "local" / "rounds.csv").stat().st_mtime_ns == local


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_within_it_keeps_what_is_done(
    how: signal.Signals, settings: RunSettings, signals: Path, tmp_path: Path, forks: Forks
) -> None:
    asked = with_local(settings, rounds=60, data=str(signals))
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = ["simulate", "fedtgp", "--data", str(signals), "--width", "16", "--rounds", "60"]
    words += ["--set", "server_epochs=2", "--workers", "1", "--out", str(run), "--beside", "local"]
    started = forks.start(tmp_path, *words)
    deadline = time.monotonic() + 120
    while not list(run.glob("beside/local/checkpoint-*")):
        assert time.monotonic() < deadline, started.said.read_text()
        time.sleep(0.005)
    os.kill(started.pid, how)
    assert forks.ended(started) == (130 if how is signal.SIGINT else -how)
    kept = read(run)
    assert "beside" not in kept
    assert not (run / "beside" / "local" / "summary.json").exists()
    before = (run / "rounds.csv").stat().st_mtime_ns
    rounds: list[int] = []
    resumed = simulate(asked, run, lambda done, _: rounds.append(done))
    assert (run / "rounds.csv").stat().st_mtime_ns == before  # the run itself is not run again
    assert rounds[0] > 61  # and that beside it continues, too
    assert {key: value for key, value in resumed.items() if key != "beside"} == kept
    assert not list(run.rglob("checkpoint-*"))
    if how is signal.SIGINT:
        return
    expected = simulate(asked, whole, quiet)
    assert resumed["beside"] == expected["beside"]
    assert of_clients(run / "beside" / "local") == of_clients(whole / "beside" / "local")


def test_a_batch_goes_on_with_what_is_missing_beside(settings: RunSettings, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    simulate(settings, tmp_path / "runs" / "0", quiet)
    before = (tmp_path / "runs" / "0" / "rounds.csv").stat().st_mtime_ns
    jobs = {0: Job(with_local(settings), tmp_path / "runs" / "0")}
    found = run_all(jobs, 1, lambda key, summary: None)
    assert list(found[0]["beside"]) == ["local"]
    assert (tmp_path / "runs" / "0" / "rounds.csv").stat().st_mtime_ns == before
    assert run_all(jobs, 1, lambda key, summary: None) == found


SCENARIO = """
title = "Two"
question = "Does it pay?"
source = "ours"
seeds = 2

[settings]
data = "fashion-sample"
partition = "iid"
samples = 240
clients = 2
rounds = 1
width = 8
models = "cnn-flat2"
beside = "local"

[[rows]]
name = "FedProto"
settings = { algorithm = "fedproto" }

[[rows]]
name = "Local"
settings = { algorithm = "local" }

[[columns]]
name = ""
"""


def test_a_table_s_settings_may_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(SCENARIO)
    out = tmp_path / "out" / "two"
    words = ["reproduce", str(path), "--out", str(out), "--workers", "1"]
    assert main(words) == 0
    sentences = [
        read(out / "runs" / f"fedproto-seed-{seed}")["beside"]["local"]["sentence"]
        for seed in range(2)
    ]
    assert "beside" not in read(out / "runs" / "local-seed-0")
    assert json.loads((out / "table.json").read_text())["beside"] == {"FedProto": sentences}
    page = (out / "table.md").read_text()
    assert page.endswith("".join(f"- FedProto: {each}\n" for each in sentences))
    assert main(words) == 0  # all of it is there, and none of it is run again
    copied = tmp_path / "out" / "again"
    assert main(["reproduce", str(path), "--out", str(copied), "--workers", "1"]) == 0
    one, other = (
        each / "runs" / "fedproto-seed-1" / "beside" / "local" / "rounds.csv"
        for each in (out, copied)
    )
    assert one.samefile(other)


def test_report_and_compare_say_the_same(
    settings: RunSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "run"
    sentence = simulate(with_local(settings), run, quiet)["beside"]["local"]["sentence"]
    assert compare.main([str(run / "beside" / "local"), str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == sentence
    assert compare.main([str(run / "beside" / "local"), str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sentence"] == found["paired"]["sentence"] == sentence
    assert report.main([str(run)]) == 0
    page = (run / "report.html").read_text()
    assert f"<h2>Did it pay?</h2><p>{sentence}</p>" in page
    assert "client-00, Local" in page
    assert "No run of Local" not in page
    simulate(with_local(settings, options={"server_epochs": 3}), tmp_path / "runs" / "more", quiet)
    assert report.main([str(tmp_path / "runs")]) == 0  # the same Local beside both, once
    page = (tmp_path / "runs" / "report.html").read_text()
    assert page.count("client-00, Local") == 1
    assert page.count("</strong>: Taking part") + page.count("</strong>: Whether taking") == 2


def test_a_run_without_its_table_is_compared_by_its_summary(
    settings: RunSettings, tmp_path: Path
) -> None:
    """Runs that an older version made have no bits, or no table."""
    simulate(with_local(settings), tmp_path / "run", quiet)
    (one,), (other,) = find([tmp_path / "run"]), find([tmp_path / "run" / "beside"])
    whole = pairing.compare_runs([one], [other]).found
    for run in (one, other):
        (run.folder / "clients.parquet").unlink()
    last = pairing.compare_runs([one], [other]).found
    assert (last.mean, last.ci95, last.devices) == (whole.mean, whole.ci95, whole.devices)
    assert all(row.gained is None for row in last.rows)
    assert all(row.gained is not None for row in whole.rows)
    for known, worst in zip(whole.rows, last.rows, strict=True):
        assert known.p <= worst.p


def test_answers_that_do_not_fit_are_one_sentence(settings: RunSettings, tmp_path: Path) -> None:
    simulate(with_local(settings), tmp_path / "run", quiet)
    summary = read(tmp_path / "run")
    most = max(summary["accuracy_by_client"], key=summary["accuracy_by_client"].__getitem__)
    summary["samples_by_client"][most]["test"] = 0
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match=r"run: is damaged: its clients' answers do not fit"):
        compare.main([str(tmp_path / "run" / "beside"), str(tmp_path / "run")])


def test_seeds_are_put_together(settings: RunSettings, tmp_path: Path) -> None:
    for seed in range(2):
        simulate(with_local(settings, seed=seed), tmp_path / "runs" / f"{seed}", quiet)
    groups = group_runs(with_companions(find([tmp_path / "runs"])))
    assert [len(group.runs) for group in groups] == [2, 2]
    told = pairing.compare_runs(groups[0].runs, groups[1].runs)
    assert ", the means of 2 runs on both sides" in told.sentence
    singles = [read(tmp_path / "runs" / f"{seed}")["beside"]["local"]["mean"] for seed in range(2)]
    assert told.found.mean == pytest.approx(sum(singles) / 2)


def diverging(settings: RunSettings) -> RunSettings:
    return with_local(settings, rounds=3, options={"local_lr": 1e12, "server_epochs": 2})


def test_clients_that_diverge_are_told_of_on_both_sides(
    settings: RunSettings, tmp_path: Path
) -> None:
    found = simulate(diverging(settings), tmp_path / "run", quiet)["beside"]["local"]
    assert found["diverged"] == [3, 3]
    assert "3 devices diverged while taking part; 3 devices diverged alone" in found["sentence"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("locl", "beside: there is no 'locl'; did you mean local"),
        ("fedtgp", "beside: fedtgp is what runs itself, and would be compared with itself"),
        ("local,fedsgd", "beside: there is no 'fedsgd'"),
    ],
)
def test_a_wrong_name_is_told_before_anything_runs(
    words: str, problem: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    base = ["simulate", "fedtgp", "--data", str(images), "--out", str(out)]
    assert main([*base, "--beside", words]) == 2
    assert problem in capsys.readouterr().err
    assert not out.exists()


def test_what_cannot_run_beside_is_told_before_anything_runs(
    settings: RunSettings, tmp_path: Path
) -> None:
    mixed = with_local(settings, models="cnn,cnn-flat2", beside="fedavg")
    with pytest.raises(ConfigError, match="beside fedavg: models: fedavg averages whole models"):
        simulate(mixed, tmp_path / "run", quiet)
    private = with_local(settings, algorithm="fedproto", options={}, beside="fml")
    private = private.model_copy(update={"privacy": files_of_settings.PrivacySettings()})
    with pytest.raises(InputError, match="beside fml: privacy: a round of fml"):
        simulate(private, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [3, {"local": 1}, [1], [["local"]], None])
def test_a_value_that_is_no_name_is_told(value: object, settings: RunSettings) -> None:
    table = {**settings.model_dump(), "beside": value}
    with pytest.raises(ConfigError, match=r"^run\.toml: beside"):
        files_of_settings.parse(table, RunSettings, "run.toml")


def test_names_in_every_form(settings: RunSettings) -> None:
    forms: list[object] = ["local,fedavg", "local, fedavg,", ["local", "fedavg"]]
    forms += [["local,fedavg"], ["local", "local", "fedavg"]]
    for value in forms:
        assert with_local(settings, beside=value).beside == ("local", "fedavg")
    assert with_local(settings, beside="").beside == ()


def test_a_damaged_summary_is_one_sentence(settings: RunSettings, tmp_path: Path) -> None:
    simulate(settings, tmp_path / "run", quiet)
    (tmp_path / "run" / "summary.json").write_text("{")
    with pytest.raises(RunError, match=r"summary\.json: is damaged"):
        simulate(with_local(settings), tmp_path / "run", quiet)
