"""Runs that also tell TensorBoard and MLflow; both are read back with their own readers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from edgeloop.errors import ConfigError
from simulations.engine.run import simulate
from simulations.results.measurements import Row
from simulations.settings import RunSettings
from simulations.sinks import parse_sinks
from tests.devices import wait_until

ROW = Row(0, 0.5, 0.25, 1.0, 0.5, 0.25, 0.125, 60, 30, 24, 12, 0.75)


@dataclass
class Failing:
    """A sink whose server goes away."""

    fails: str
    name: str = "broken"
    told: list[str] = field(default_factory=list)

    def _take(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails:
            raise OSError("the server is gone\nand more")

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        self._take("begin")

    def row(self, row: Row) -> None:
        self._take("row")

    def end(self, summary: Mapping[str, Any]) -> None:
        self._take("end")

    def close(self) -> None:
        self._take("close")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard's own reader finds: steps and values by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(each.step, each.value) for each in found.Scalars(name)] for name in names}


def test_tensorboard_reads_what_a_run_told(settings: RunSettings, tmp_path: Path) -> None:
    sinks = parse_sinks([f"tensorboard:{tmp_path / 'board'}"])
    summary = simulate(settings, tmp_path / "run", lambda done, _: None, sinks)
    found = scalars(tmp_path / "board" / "run")
    assert dict(found["accuracy"]) == pytest.approx(dict(enumerate(summary["accuracy_by_round"])))
    assert [step for step, _ in found["auc"]] == [1, 2]  # round 0 has no scores
    assert dict(found["result/best_accuracy"]) == pytest.approx({0: summary["best_accuracy"]})
    assert {step for step, _ in found["bytes_up"]} == {0, 1, 2}


def test_a_run_that_goes_on_has_every_round_once(tmp_path: Path) -> None:
    for rows in ([], [ROW]):  # killed in round 1 of which nothing is known when it continues
        (board,) = parse_sinks([f"tensorboard:{tmp_path}"])
        board.begin(Path("run"), {"seed": 0}, rows)
        for number in range(len(rows), 2):
            board.row(Row(number, *(0.5,) * 6, *(60,) * 4))
        board.close()
    assert scalars(tmp_path / "run")["accuracy"] == [(0, 0.5), (1, 0.5)]


def log_records(path: Path) -> list[bytes]:
    """Return the records of a log of LevelDB's format, as wandb writes it, after 7 bytes."""
    content, place, found, part = path.read_bytes(), 7, [], b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:  # the rest of a block
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(part)
            part = b""
    return found


def wandb_records(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what an offline run's file holds: each step's metrics, and the summary.

    A process of wandb's own writes it, and has done so once it holds that the run has ended.
    """
    from wandb.proto import wandb_internal_pb2 as messages

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    records: list[Any] = []

    def has_ended() -> bool:
        records.clear()
        for data in log_records(path):
            record: Any = messages.Record()  # type: ignore[attr-defined]
            record.ParseFromString(data)
            records.append(record)
        return any(each.HasField("exit") for each in records)

    wait_until(has_ended)
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for record in records:
        items = [record.history.item, record.summary.update]
        step, update = (
            {each.key or "/".join(each.nested_key): json.loads(each.value_json) for each in every}
            for every in items
        )
        history += [step] if step else []
        summary |= update
    return history, summary


@pytest.mark.filterwarnings("default")  # wandb's own
def test_wandb_holds_what_a_run_told(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: nothing is sent, and what `wandb sync` would send is in the folder."""
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    sinks = parse_sinks([f"wandb:{tmp_path / 'there'}"])
    local = settings.model_copy(update={"algorithm": "local", "options": {}})
    summary = simulate(local, tmp_path / "run", lambda done, _: None, sinks)
    history, results = wandb_records(tmp_path / "there")
    accuracies = [each["accuracy"] for each in history if "accuracy" in each]
    assert accuracies == pytest.approx(summary["accuracy_by_round"])
    assert results["best_accuracy"] == pytest.approx(summary["best_accuracy"])


@pytest.mark.parametrize("fails", ["begin", "row", "end", "close"])
def test_a_sink_that_fails_is_said_once_and_ends_nothing(
    fails: str, settings: RunSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, whole = Failing(fails), Failing("never", name="whole")
    local = settings.model_copy(update={"algorithm": "local", "options": {}})
    simulate(local, tmp_path / "run", lambda done, _: None, [broken, whole])
    said = "sink broken: the server is gone; the run continues without it\n"
    assert capsys.readouterr().err == said
    assert broken.told[-1] == fails
    assert broken.told.count(fails) == 1
    assert whole.told == ["begin", "row", "row", "row", "end", "close"]


@pytest.mark.parametrize("word", ["tensorboard", "tensorboard:", "visdom:there", ":x"])
def test_a_word_that_names_no_sink(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "local", "--data", "fashion-sample", "--sink", word]) == 2
    said = capsys.readouterr().err
    assert "sink: " in said
    assert "write tensorboard:FOLDER or mlflow:URI or wandb:FOLDER" in said


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(name="tensorboard")

    monkeypatch.setattr("importlib.import_module", gone)
    with pytest.raises(ConfigError, match=r"pip install 'edgeloop\[tensorboard\]'"):
        parse_sinks(["tensorboard:board"])


@pytest.mark.filterwarnings("default")  # MLflow's own
def test_mlflow_holds_what_a_run_told(settings: RunSettings, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    summary = simulate(settings, tmp_path / "run", lambda *_: None, parse_sinks([f"mlflow:{uri}"]))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgeloop")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["algorithm"] == "fedtgp"
    assert run.data.params["hyperparameters.server_epochs"] == "2"
    assert run.data.metrics["best_accuracy"] == summary["best_accuracy"]
    history = client.get_metric_history(run.info.run_id, "accuracy")
    told = {metric.step: metric.value for metric in history}
    assert told == dict(enumerate(summary["accuracy_by_round"]))


@pytest.mark.filterwarnings("default")
def test_mlflow_goes_on_with_a_run_and_logs_no_round_twice(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    rows = [Row(number, *(0.5,) * 6, *(60,) * 4) for number in range(3)]
    for before, then in (([], rows[:2]), (rows[:1], rows[1:])):  # killed; its checkpoint has one
        (sink,) = parse_sinks([f"mlflow:{uri}"])
        sink.begin(tmp_path / "run", {"seed": 0}, before)
        for row in then:
            sink.row(row)
        sink.close()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgeloop")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "accuracy")
    assert sorted(metric.step for metric in history) == [0, 1, 2]
