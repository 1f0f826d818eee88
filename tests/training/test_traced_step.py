"""Recorded operations: the same results to the bit, and what recording does not do twice."""

import pytest
import torch
from torch import Tensor

from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.training import traced_step
from edgeloop.training.traced_step import TracedFunction
from tests.cohorts import test_stacked as stacked
from tests.generators.tiny import write_tiny

NEVER = 10**9


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("recorded") / "tiny"))


class Counted:
    """Adds a row's sum to its total in place, and counts how often it is asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, total_M: Tensor, more: dict[str, Tensor]) -> tuple[Tensor, None]:
        self.calls += 1
        total_M.add_(more["rows"].sum(1))
        return total_M * 2, None


def test_a_function_is_recorded_after_some_calls_and_not_asked_again() -> None:
    function = Counted()
    step = TracedFunction(function)
    total_M, rows_MN = torch.zeros(3), torch.arange(6.0).view(3, 2)
    for number in range(1, 3 * traced_step.CALLS_BEFORE_TRACING):
        doubled_M, nothing = step(total_M, {"rows": rows_MN})
        assert torch.equal(total_M, number * torch.tensor([1.0, 5.0, 9.0]))  # once, always
        assert torch.equal(doubled_M, 2 * total_M)
        assert nothing is None
    assert function.calls == traced_step.CALLS_BEFORE_TRACING + 1


def test_other_shapes_are_recorded_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_step, "CALLS_BEFORE_TRACING", 0)
    step = TracedFunction(Counted())
    for count in (3, 2, 3, 1):
        total_M = torch.zeros(count)
        step(total_M, {"rows": torch.ones(count, 4)})
        assert torch.equal(total_M, torch.full((count,), 4.0))


def test_what_cannot_be_recorded_is_asked_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_step, "CALLS_BEFORE_TRACING", 0)
    step = TracedFunction(lambda values: values * 2 if values.sum().item() > 0 else -values)
    for _ in range(2):
        assert torch.equal(step(torch.tensor([1.0])), torch.tensor([2.0]))
        assert torch.equal(step(torch.tensor([-1.0])), torch.tensor([1.0]))


@pytest.mark.parametrize(
    ("name", "kind", "rounds"),
    [*((name, "cnn", stacked.ROUNDS) for name in stacked.STACKABLE), ("fedgh", "resnet4", 2)],
)
def test_recorded_steps_are_the_steps_to_the_bit(
    name: str, kind: str, rounds: int, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that continues after a stop, and records again, ends as one that was not stopped."""
    kinds = dict.fromkeys(stacked.SIZES, kind)
    algorithm = stacked.built(name, generator)
    found = []
    for patience in (0, 2, NEVER):
        monkeypatch.setattr(traced_step, "CALLS_BEFORE_TRACING", patience)
        crew = stacked.stacked(algorithm, kinds)
        found.append(stacked.ended(algorithm, crew, count=rounds))
    for first, second, never in zip(*found, strict=True):
        assert first.tobytes() == never.tobytes()
        assert second.tobytes() == never.tobytes()
