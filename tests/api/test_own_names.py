"""Own objects have names of their own, and what they are is a part of the run that they make."""

import importlib
import math
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeloop
from edgeloop.errors import ConfigError, ModelError, RunError
from simulations.results.groups import group_runs

Y = np.arange(80) % 2
X = np.random.default_rng(0).normal(Y[:, None, None, None], 0.5, (80, 1, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """A whole classifier."""

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8), classes: int = 2, hidden: int = 12):
        super().__init__()
        self.hidden = nn.Linear(math.prod(shape), hidden)
        self.last = nn.Linear(hidden, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(inputs.flatten(1))))  # type: ignore[no-any-return]


def layers(hidden: int, between: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Return a small network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), between(), nn.Linear(hidden, 2))


def run(algorithm: str = "fedavg", model: Any = Net, **changes: Any) -> edgeloop.Run:
    """Simulate something small, without a word."""
    small = {"partition": "iid", "clients": 2, "rounds": 1, "width": 16, "progress": False}
    return edgeloop.simulate(algorithm, (X, Y), model, **{**small, **changes})


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        ([lambda: layers(5), lambda: layers(9)], "own-lambda"),
        ([Net(hidden=5), Net(hidden=9)], "own-net"),
        ([partial(Net, hidden=5), partial(Net, hidden=9)], "own-partial"),
        ([type("网", (Net,), {"__module__": "__main__"}) for _ in range(2)], "own-architecture"),
    ],
)
def test_two_networks_of_one_name_are_two(pair: list[Any], name: str) -> None:
    kinds = run("local", pair).summary["model_by_client"]
    assert list(kinds.values()) == [name, f"{name}-2"]


def test_two_metrics_of_one_name_are_two() -> None:
    found = run(metrics=[lambda scores, labels: 1.0, lambda scores, labels: 2.0])
    assert found.summary["metrics_by_round"] == {"own-lambda": [1.0] * 2, "own-lambda-2": [2.0] * 2}


def test_calls_in_threads_keep_their_own_networks() -> None:
    found: dict[int, int] = {}

    def go(hidden: int) -> None:
        found[hidden] = run(model=lambda: layers(hidden), width=512).summary["config"]["width"]

    threads = [threading.Thread(target=go, args=(hidden,)) for hidden in (3, 5, 7)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {3: 3, 5: 5, 7: 7}


def test_a_run_does_not_go_on_with_another_network_of_the_same_name(tmp_path: Path) -> None:
    """As in a notebook: the run is stopped, a cell is changed, and the call is made again."""

    def stops(number: int, rounds: int) -> float:
        if number == 1:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        run(model=lambda: layers(5), rounds=2, out=tmp_path / "run", schedule=stops)
    with pytest.raises(RunError, match=r"another run: code\.own-lambda \("):
        run(model=lambda: layers(5, nn.Tanh), rounds=2, out=tmp_path / "run", schedule=stops)


def test_a_comparison_tells_networks_of_one_name_apart() -> None:
    one, other = (run(model=lambda kind=kind: layers(5, kind)) for kind in (nn.ReLU, nn.Tanh))
    assert list(edgeloop.compare(one, other)["settings"]) == ["code.own-lambda"]


def test_what_has_no_own_code_has_no_digest() -> None:
    assert "code" not in run("local", "hcnn1").summary["config"]
    assert "tests.api.test_own_names:Net" in run().summary["config"]["code"]


def test_seeds_of_a_network_that_is_made_anew_are_compared() -> None:
    """Its first weights make another run of it, and no other settings."""
    torch.manual_seed(0)
    first, second = (run(model=Net(), seed=seed) for seed in range(2))
    found = edgeloop.compare([first, second], first)
    assert found["a"]["seeds"] == [0, 1]
    assert found["settings"] == {}
    other = run(model=Net(), seed=0)
    assert len(group_runs([first.finished, second.finished])) == 1
    assert len(group_runs([first.finished, other.finished])) == 2
    with pytest.raises(ConfigError, match="the first weights of their own networks"):
        edgeloop.compare([first, other], first)


def test_a_run_does_not_go_on_with_other_first_weights(tmp_path: Path) -> None:
    run(model=Net(), out=tmp_path / "run")
    with pytest.raises(RunError, match=r"another run: code_weights\.own-net \("):
        run(model=Net(), out=tmp_path / "run")


def test_a_module_that_is_loaded_again_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    layers = "nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 2))"
    text = f"from torch import nn\ndef small():\n    return {layers}\n"
    widths = []
    for content in (text, text.replace("12", "5")):
        (tmp_path / "reloaded_net.py").write_text(content)
        importlib.invalidate_caches()
        module = importlib.import_module("reloaded_net")
        module = importlib.reload(module)
        found = edgeloop.simulate(
            "fedavg", (X, Y), module.small, partition="iid", clients=2, rounds=1, progress=False
        )
        widths.append(found.summary["config"]["width"])
    assert widths == [12, 5]


def test_frozen_parameters_are_refused() -> None:
    network = Net()
    network.hidden.requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match=r"own-net: has frozen parameters, hidden\.weight"):
        run(model=network)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": []}, "model: is an empty list"),
        ({"out": ""}, "out: names no folder"),
        ({"batch-size": 4}, "batch-size: is no argument; write batch_size"),
        ({"algorithm": None}, "algorithm: is None"),
        ({"optimizer": lambda parameters, lr: 3}, r"makes int, and no torch\.optim\.Optimizer"),
        (
            {"optimizer": lambda parameters, lr: torch.optim.LBFGS(parameters, lr)},
            "LBFGS asks for the loss several times",
        ),
        ({"schedule": lambda number: 1.0}, r"schedule: fails in round 0 of 1 \(TypeError"),
        ({"augment": lambda inputs: inputs.double()}, r"torch\.float64 of inputs of shape"),
        ({"partition": lambda labels, *_: [labels == 0, labels == 1]}, "np.flatnonzero"),
        ({"partition": lambda *_: [[0.5, 1.0], [2.0]]}, "indices that are no whole numbers"),
    ],
)
def test_what_cannot_be_used_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(**changes)


def test_one_thing_or_none_is_a_list_too() -> None:
    named = run(metrics="macro-f1", optimizer=None, schedule=None, options=None)
    assert list(named.summary["metrics_by_round"]) == ["macro-f1"]
    assert run(metrics=None).summary["knowledge_sha256"] == named.summary["knowledge_sha256"]


def test_a_metric_that_writes_into_its_arguments_changes_nothing() -> None:
    def spoils(scores: Any, labels: Any) -> float:
        scores[:] = labels[:] = 0
        return 1.0

    spoilt = run(metrics=spoils, local_lr=0.1)
    assert spoilt.summary["accuracy_by_round"] == run(local_lr=0.1).summary["accuracy_by_round"]


def test_torch_may_be_set_otherwise_around_a_run() -> None:
    """As by an earlier cell of a notebook."""
    usual = run(local_lr=0.1).summary["knowledge_sha256"]
    with torch.inference_mode():
        assert run(local_lr=0.1).summary["knowledge_sha256"] == usual
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        assert run(local_lr=0.1).summary["knowledge_sha256"] == usual
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_a_folder_of_several_runs_names_them(tmp_path: Path) -> None:
    for seed in range(2):
        run(out=tmp_path / f"seed-{seed}", seed=seed)
    with pytest.raises(RunError, match="holds 2 runs: seed-0, seed-1; name one of them"):
        edgeloop.Run.load(tmp_path)


@pytest.mark.parametrize("side", [None, [], {"a": 1}])
def test_a_side_without_a_run_is_said(side: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="compare: a side"):
        edgeloop.compare(side, tmp_path)


def test_home_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = run(out="~/first")
    assert found.save("~/second") == tmp_path / "second"
    assert edgeloop.Run.load("~/first").accuracy == found.accuracy
