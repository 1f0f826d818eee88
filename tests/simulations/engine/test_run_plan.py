import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.errors import ModelError
from edgeloop.protocol import wire
from edgeloop.runtime import plugins
from simulations.engine import cohort_factory, run_cohort, run_plan
from simulations.engine.flops import forward_flops
from simulations.engine.run import simulate
from simulations.settings import RunSettings


def pooled(clients: int) -> data.Federation:
    inputs = np.arange(clients * 8).astype(np.uint8).reshape(-1, 1, 1, 1)
    pool = Pool(inputs, np.arange(clients * 8) % 2, ("a", "b"))
    return data.split(pool, Partition("iid", clients=clients, balanced=True))


def test_names_sort_as_numbers_do() -> None:
    names = run_plan.client_names(pooled(101))
    assert (names[7], names[100]) == ("client-007", "client-100")
    assert names == sorted(names)
    assert run_plan.client_names(pooled(3))[2] == "client-02"


def test_images_get_the_cnn_and_signals_the_sensor_group(
    settings: RunSettings, signals: Path
) -> None:
    federation = settings.federation()
    assert set(run_plan.Plan(settings, federation).clients.models.values()) == {"cnn"}
    sensors = settings.model_copy(update={"data": str(signals)})
    models = run_plan.Plan(sensors, sensors.federation()).clients.models
    assert list(models.values()) == ["harcnn-s1", "harcnn-s2", "harcnn-s1"]


def test_a_model_that_does_not_fit_is_refused(settings: RunSettings, signals: Path) -> None:
    wrong = settings.model_copy(update={"data": str(signals), "models": "cnn"})
    with pytest.raises(ModelError, match="cnn"):
        run_plan.Plan(wrong, wrong.federation())


def test_costs_are_samples_times_operations(settings: RunSettings, signals: Path) -> None:
    sensors = settings.model_copy(update={"data": str(signals)})
    federation = sensors.federation()
    plan = run_plan.Plan(sensors, federation)
    clients, costs = plan.clients, plan.costs
    train = [size[0] for size in federation.sizes()]
    flops = [
        forward_flops(clients.build_model(each), clients.shape) for each in clients.models.values()
    ]
    assert list(costs.values()) == [
        n * (f + run_plan.STEP_FLOPS) for n, f in zip(train, flops, strict=True)
    ]
    # The first layer of stride 1 alone: 2 channels, 32 filters, 9 wide, on 56 steps.
    assert flops[0] > 2 * 2 * 32 * 9 * 56
    assert flops[0] > flops[1]


def test_a_spool_gives_back_the_same_bits(tmp_path: Path) -> None:
    federation = pooled(2)
    store = cohort_factory.NpzStore.write(federation, tmp_path)
    for client in range(2):
        there, here = federation.client(client), store.client(client)
        assert there.train.inputs.tobytes() == here.train.inputs.tobytes()
        assert there.test.labels.tolist() == here.test.labels.tolist()


@pytest.mark.parametrize("divided", [True, False])
def test_one_and_two_workers_answer_alike(settings: RunSettings, divided: bool) -> None:
    if not divided:
        settings = settings.model_copy(update={"partition": "iid", "clients": 3})
    federation = settings.federation()
    found = []
    for workers in (1, 2):
        plan = run_plan.Plan(settings.model_copy(update={"workers": workers}), federation)
        algorithm = plan.clients.load()
        with run_cohort.open_cohort(plan, federation) as cohort:
            answers = cohort.ask(0, algorithm.start()[1])
        found.append(
            {
                name: (wire.fingerprint(answer.upload), answer.report.test_correct)
                for name, answer in answers.items()
            }
        )
    assert list(found[0]) == ["client-00", "client-01", "client-02"]
    assert found[0] == found[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_some_clients_train_and_all_evaluate(settings: RunSettings, workers: int) -> None:
    changes = {"join_ratio": 0.67, "drop_rate": 0.5, "rounds": 2, "workers": workers}
    chosen = settings.model_copy(update=changes)
    federation = chosen.federation()
    plan = run_plan.Plan(chosen, federation)
    some = plan.participation()
    assert some is not None
    with run_cohort.open_cohort(plan, federation) as cohort:
        joining = some.joining(0)
        answers = cohort.ask(0, plan.clients.load().start()[1], joining)
    assert joining is not None
    assert len(joining) == 2
    assert {name for name, each in answers.items() if each.upload is not None} == joining
    assert all(each.report.test_samples for each in answers.values())


def test_a_run_of_some_clients_sends_less(settings: RunSettings, tmp_path: Path) -> None:
    some = settings.model_copy(update={"join_ratio": 0.67, "drop_rate": 0.5})
    summary = simulate(some, tmp_path / "run", lambda *_: None)
    whole = simulate(settings, tmp_path / "whole", lambda *_: None)
    assert len(summary["accuracy_by_client"]) == 3
    assert summary["floats_up_per_client"] < whole["floats_up_per_client"]


def test_everybody_takes_part_unless_somebody_says_otherwise(settings: RunSettings) -> None:
    federation = settings.federation()
    assert run_plan.Plan(settings, federation).participation() is None


def test_clients_of_one_architecture_start_alike(settings: RunSettings, tmp_path: Path) -> None:
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation)
    cohort_factory.CohortFactory(plan.clients, federation)(list(plan.clients.models)).save(tmp_path)
    first, *others = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(others) == 2
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", ["fedtgp", "fedavg"])
def test_all_clients_of_a_process_have_one_algorithm(settings: RunSettings, name: str) -> None:
    federation = settings.federation()
    chosen = settings.model_copy(update={"algorithm": name, "options": {}})
    plan = run_plan.Plan(chosen, federation)
    assert plan.clients.load() is plan.clients.algorithm
    cohort = cohort_factory.CohortFactory(plan.clients, federation)(list(plan.clients.models))
    held = cohort.map_clients(lambda _, client: id(client._algorithm))
    assert set(held.values()) == {id(plan.clients.algorithm)}


def test_a_factory_that_was_used_goes_to_a_worker(settings: RunSettings) -> None:
    clients = run_plan.Plan(settings, settings.federation()).clients
    assert clients.algorithm.sizes
    content = pickle.dumps(clients)
    there = pickle.loads(content)  # noqa: S301 - as multiprocessing does
    assert there == clients
    assert set(there.__dict__) == {each.name for each in dataclasses.fields(clients)}
    assert len(content) < 2000  # no model, no sample, no function: names and numbers


def test_import_paths_are_let_in_where_a_factory_goes(
    settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"metrics": "json:dumps", "optimizer": "mine:Own lr=1", "models": "cnn,mine:Net"}
    training = RunSettings.model_validate({**settings.model_dump(), **named}).training()
    content = pickle.dumps(training)
    monkeypatch.setattr(plugins, "_BROUGHT", {})  # as in a process of its own
    assert "mine:Net" not in plugins.MODELS.names()
    assert pickle.loads(content) == training  # noqa: S301 - as multiprocessing does
    assert "json:dumps" in plugins.METRICS.names()
    assert "mine:Own" in plugins.OPTIMIZERS.names()
    assert "mine:Net" in plugins.MODELS.names()


def test_a_plan_knows_what_each_client_has(settings: RunSettings) -> None:
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation)
    assert list(plan.sizes.values()) == federation.sizes()
    assert plan.clients.options["classes"] == plan.clients.classes == federation.classes
    assert plan.clients.hyperparameters().items() >= plan.clients.options.items()


@pytest.mark.parametrize(
    ("shape", "group"),
    [
        *(((3, 32, 32), "cnn"), ((1, 28, 28), "cnn"), ((3, 64, 300), "cnn"), ((200,), "cnn")),
        *(((9, 1, 128), "htfe-sen-2"), ((9, 3, 256), "htfe-sen-2"), ((27, 6, 500), "htfe-sen-2")),
    ],
)
def test_the_models_of_signals_are_those_of_sensors(shape: tuple[int, ...], group: str) -> None:
    """PAMAP2's are three sensors of nine channels each."""
    assert run_plan.default_group(shape) == group
