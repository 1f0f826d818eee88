"""The losses of clients and of the server, in every output."""

import csv
import json
from pathlib import Path

import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.answers import MAX_LOSS, Report, mean_loss
from edgeloop.models.split import SplitModel
from edgeloop.training import losses
from edgeloop.training.sgd import cross_entropy, train_sgd
from simulations.engine.run import simulate
from simulations.report import simulated
from simulations.results import measurements, runs
from simulations.results.groups import group_runs
from simulations.results.measurements import Row
from simulations.settings import RunSettings
from simulations.sinks.sink import numbers


def test_the_mean_of_all_steps(identity: SplitModel) -> None:
    """A learning rate that changes nothing: the mean is that of both batches, in each epoch."""
    batches = Batches(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0]), 1)
    with losses.metered() as meter:
        assert meter.mean is None
        train_sgd(identity, batches, cross_entropy, epochs=2, lr=1e-12)
    expected = (torch.log1p(torch.tensor(-1.0).exp()) + torch.log1p(torch.tensor(3.0).exp())) / 2
    assert meter.mean == pytest.approx(expected.item())
    train_sgd(identity, batches, cross_entropy, epochs=1, lr=1e-12)  # nobody asks, nothing noted


def test_clients_count_by_their_training_samples() -> None:
    reports = {name: Report(0, 1, size, 0.0, 0.0) for name, size in (("a", 1), ("b", 3), ("c", 9))}
    assert mean_loss(reports, {"a": 4.0, "b": 8.0, "c": None, "d": 5.0}) == 7.0
    assert mean_loss(reports, {"a": 4.0, "b": float("nan")}) == 4.0
    assert mean_loss(reports, {"c": None}) is None


def test_every_output_has_them(settings: RunSettings, tmp_path: Path) -> None:
    """FedTGP's server tells numbers of its own; the summary, the files, sinks and the report."""
    told: list[dict[str, float]] = []

    class Listening:
        name = "listening"

        def begin(self, *_: object) -> None:
            """Nothing to open."""

        def row(self, row: Row) -> None:
            told.append(numbers(row))

        def end(self, *_: object) -> None:
            """Nothing to write."""

        def close(self) -> None:
            """Nothing to close."""

    summary = simulate(settings, tmp_path, lambda *_: None, [Listening()])
    losses_R = summary["train_loss_by_round"]
    assert len(losses_R) == 2
    assert all(each > 0 for each in losses_R)
    assert [each.get("train_loss") for each in told] == [*losses_R, None]
    with (tmp_path / "measures.csv").open() as file:
        measures = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in measures] == losses_R
    assert {"loss", "margin"} <= summary["measures_by_round"].keys()
    for name, values in summary["measures_by_round"].items():
        assert [float(row[name]) for row in measures] == values
    page = simulated.render(group_runs(runs.find([tmp_path])))
    assert "Losses, and numbers of the server" in page
    assert json.loads((tmp_path / "summary.json").read_text())["train_loss_by_round"] == losses_R


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("apfl", {}),
        ("apfl", {"through_mixture": True}),
        ("fedkd", {}),
        ("perfedavg", {}),
        ("perfedavg", {"second_order": True}),
    ],
    ids=str,
)
def test_steps_of_ones_own_tell_too(
    settings: RunSettings, tmp_path: Path, algorithm: str, options: dict[str, bool]
) -> None:
    changes = {"algorithm": algorithm, "options": options, "rounds": 1, "workers": 1}
    found = simulate(settings.model_copy(update=changes), tmp_path, lambda *_: None)
    assert 0 < found["train_loss_by_round"][0] < 100


def test_workers_tell_the_same(settings: RunSettings, tmp_path: Path) -> None:
    changes = {"algorithm": "fedavg", "options": {}}
    one, two = (
        simulate(
            settings.model_copy(update={**changes, "workers": workers}),
            tmp_path / str(workers),
            lambda *_: None,
        )
        for workers in (1, 2)
    )
    assert one["train_loss_by_round"] == two["train_loss_by_round"]


def test_a_report_tells_what_can_be_told() -> None:
    report = Report(0, 1, 2, 0.0, 0.0)
    assert report.with_train_loss(-0.5).train_loss == -0.5
    for impossible in (None, float("nan"), float("inf"), 2 * MAX_LOSS):
        assert report.with_train_loss(impossible) == report


def test_who_tells_nothing_has_no_file() -> None:
    assert measurements.measures_file([Row(0, *(0.5,) * 6, *(60,) * 4)]) == ""
