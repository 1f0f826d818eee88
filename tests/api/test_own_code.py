"""The digest of what a person brings tells it from all else of its name."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from simulations.engine.own_code import digest
from tests.api.test_own_names import Net, layers


def made(text: str) -> Any:
    """Return `Thing` of a cell that is run now."""
    space: dict[str, Any] = {"__name__": "cell", "nn": nn, "np": np, "torch": torch}
    exec(compile(text, "<cell>", "exec"), space)  # noqa: S102 - what a notebook does
    return space["Thing"]


FUNCTION = "def inner(x):\n    return x + 1\ndef Thing(x):\n    return inner(x)\n"
CLASS = "class Thing(nn.Module):\n    def forward(self, x):\n        return x in {'a', 'b'} or x\n"
USED = "USED = {}\ndef Thing(x):\n    return x + USED[0]\n"
DEEP = "USED = 1\ndef Thing():\n def a():\n  def b():\n   return USED\n  return b\n return a\n"


@pytest.mark.parametrize("text", [FUNCTION, CLASS, USED.format("[1, {2}]"), DEEP])
def test_the_same_cell_again_is_the_same(text: str) -> None:
    moved = "\n\n# a comment\n" + text
    assert digest(made(text)) == digest(made(moved))


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (FUNCTION, "x + 1", "x + 2"),
        (FUNCTION, "inner(x)\n", "inner(2 * x)\n"),
        (CLASS, "'b'", "'c'"),
        (USED.format("{0: 1}"), "1", "2"),
        (USED.format("[[1]]"), "1", "2"),
        (USED.format("(1,)"), "1", "2"),
        (USED.format("{1}"), "1", "2"),
        (USED.format("np.array([1])"), "1", "2"),
        (USED.format("torch.tensor([1])"), "1", "2"),
        (DEEP, "1", "2"),
    ],
)
def test_another_cell_is_another(text: str, old: str, new: str) -> None:
    changed = text.replace(old, new)
    assert changed != text
    assert digest(made(text)) != digest(made(changed))


def test_weights_and_closed_over_values_count() -> None:
    torch.manual_seed(0)
    assert digest(Net()) != digest(Net())
    assert digest(lambda: layers(5)) != digest(lambda: layers(6))
    assert digest(partial(layers, 5)) == digest(partial(layers, 5))
    assert digest(partial(layers, 5)) != digest(partial(layers, 6))


def test_first_weights_are_no_code() -> None:
    """Nor are the lists of them that a network of torch's keeps."""
    one, other = (digest(nn.Sequential(nn.LSTM(4, 3), Net())) for _ in range(2))
    assert one.code == other.code
    assert one.weights != other.weights
    assert digest(Net).weights is None
    assert digest(Net(hidden=5)).code != digest(Net(hidden=9)).code


class Scaled(Net):
    """A network with a number, a list and a tensor that torch knows nothing of."""

    def __init__(self, scale: Any = 1.0, parts: Any = (1, 2), mask: Any = 1.0) -> None:
        super().__init__()
        self.scale, self.parts, self.mask = scale, list(parts), torch.tensor(mask)


def test_plain_attributes_of_a_network_count() -> None:
    usual = digest(Scaled())
    assert usual.code == digest(Scaled()).code
    assert usual.code != digest(Scaled(scale=1000.0)).code
    assert usual.code != digest(Scaled(parts=(1, 3))).code
    assert usual.code != digest(Scaled(scale=torch.tanh)).code
    torch.manual_seed(0)
    one = digest(Scaled())
    torch.manual_seed(0)
    assert one.weights != digest(Scaled(mask=2.0)).weights


class Weighs:
    """A metric with a list."""

    def __init__(self, *weights: float) -> None:
        self.weights = [*weights]

    def __call__(self, scores: Any, labels: Any) -> float:
        return sum(self.weights)


def test_a_list_of_a_callable_object_counts() -> None:
    assert digest(Weighs(1, 2)) == digest(Weighs(1, 2))
    assert digest(Weighs(1, 2)) != digest(Weighs(1, 3))


def test_what_libraries_bring_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their bytecode is another one for each version of theirs, and of Python."""
    network = nn.Sequential(Net(), nn.ReLU())
    before = digest(network), digest(nn.ReLU), digest(lambda x: nn.functional.relu(x)).weights
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, inputs: inputs + 1)
    assert before == (digest(network), digest(nn.ReLU), None)
    monkeypatch.setattr(Net, "forward", lambda self, inputs: inputs + 1)
    assert digest(network).code != before[0].code


def deep(number: int) -> list[Any]:
    """Return lists within lists."""
    found: list[Any] = [number]
    for _ in range(5000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda number: torch.tensor([1j * number], requires_grad=True),
        lambda number: torch.tensor([1j * number]).conj(),
        lambda number: torch.eye(3).mul(number).to_sparse(),
        lambda number: torch.empty(number, device="meta"),
        lambda number: torch.tensor(number, dtype=torch.bfloat16),
        lambda number: torch.tensor(1.0 + number * 1e-12, dtype=torch.float64),
        lambda number: torch.tensor([[True, number == 1]]),
        lambda number: np.array([object, [number]], dtype=object),
        lambda number: np.array([f"2026-01-0{number}"], dtype="datetime64[D]"),
        lambda number: np.float32(number),
        lambda number: {(number, frozenset({number}))},
        deep,
    ],
)
def test_values_of_any_kind(make: Any) -> None:
    assert digest(make(1)) == digest(make(1))
    assert digest(make(1)) != digest(make(2))


def test_what_cannot_be_read_is_told_by_its_kind() -> None:
    class Closed(dict[str, int]):
        def values(self) -> Any:
            raise OSError("closed")

    assert digest(nn.LazyLinear(3)) == digest(nn.LazyLinear(3))
    assert digest([Closed(), 1]) == digest([Closed(), 1])
    assert digest([Closed(), 1]) != digest([Closed(), 2])
