import pytest
import torch

from benchmarks import environment, har
from benchmarks.har import Seconds
from benchmarks.naive import Naive
from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from simulations.engine import cohort_factory, run_plan
from simulations.settings import RunSettings


def test_the_rest_is_what_the_parts_leave() -> None:
    assert Seconds(wall=10.0, training=5.0, evaluating=2.0, aggregating=1.0).rest == 2.0


def test_medians_are_taken_part_by_part() -> None:
    found = har.medians(
        [Seconds(5.0, 1.0, 1.0, 1.0), Seconds(9.0, 4.0, 1.0, 3.0), Seconds(8.0, 2.0, 2.0, 1.0)]
    )
    assert found == {
        "wall": 8.0,
        "training": 2.0,
        "evaluating": 1.0,
        "aggregating": 1.0,
        "rest": 2.0,
    }


def test_naive_training_is_local_training() -> None:
    whole = fashion_sample()
    few = Pool(whole.inputs[:80], whole.labels[:80], whole.class_names)
    federation = data.split(few, Partition("pathological", clients=2, classes_per_client=5))
    settings = RunSettings(algorithm="local", data="fashion-sample", width=16)
    plan = run_plan.Plan(settings, federation)
    naive = Naive(plan, federation)
    naive.epoch()
    assert naive.samples() == sum(train // 10 * 10 for train, _ in federation.sizes())
    crew = cohort_factory.CohortFactory(plan.clients, federation)(list(plan.clients.models))
    algorithm = plan.clients.load()
    crew.ask(0, algorithm.start()[1])
    for member, model in zip(crew._clients.values(), naive._models, strict=True):
        for name, value in model.state_dict().items():
            assert torch.allclose(torch.from_numpy(member.weights()[name]), value, atol=1e-5)


def test_no_data_is_no_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGELOOP_DATA", "/nowhere")
    monkeypatch.setattr("sys.argv", ["har"])
    assert environment.run(har.main, "har") == 2
    assert "data: there is no folder /nowhere/har" in capsys.readouterr().err
