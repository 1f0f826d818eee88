"""What an algorithm need not say: it follows from its recipe, or is what most of them do."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeloop.algorithm import Algorithm, Batches, Recipe
from edgeloop.models.split import SplitModel


@dataclass(frozen=True)
class Nothing:
    """A message without a field."""


def loss(forward: Any, batch: Any, goal: Any) -> Tensor:
    total: Tensor = forward(batch[0])[1].sum() * goal
    return total


def algorithm(**parts: Any) -> Algorithm[Any, Any, Any]:
    return Algorithm(
        state=Nothing,
        upload=Nothing,
        broadcast=Nothing,
        sizes={},
        start=lambda: (Nothing(), Nothing()),
        aggregate=lambda state, uploads: (state, Nothing()),
        **parts,
    )


RECIPE = Recipe[Nothing, Nothing](
    loss=loss, epochs=1, lr=0.5, upload=lambda *_: Nothing(), targets=lambda *_: 3.0
)


def model() -> SplitModel:
    made = SplitModel(torch.nn.Identity(), width=2, classes=2, features=2)
    torch.nn.init.zeros_(made.head.weight)
    return made


def test_a_recipe_says_the_rest() -> None:
    made = algorithm(recipe=RECIPE)
    assert (made.loss, made.targets) == (RECIPE.loss, RECIPE.targets)
    mine = model()
    batches = Batches(torch.ones(1, 2), torch.zeros(1, dtype=torch.int64), 1)
    assert made.train(mine, batches, Nothing()) == Nothing()
    assert torch.equal(mine.head.weight, torch.full((2, 2), -1.5))  # 0.5 * 3, down the gradient


def test_what_is_said_counts() -> None:
    said = {"train": lambda *_: "trained", "targets": lambda *_: 4, "loss": lambda *_: 5}
    made = algorithm(recipe=RECIPE, **said)
    assert {name: getattr(made, name) for name in said} == said
    assert replace(made, full_rounds=2).train is said["train"]
    assert replace(algorithm(recipe=RECIPE), full_rounds=2).loss is loss


def test_without_a_recipe_it_says_how_it_trains() -> None:
    with pytest.raises(TypeError, match="without a recipe needs train"):
        algorithm()
    made = algorithm(train=lambda *_: Nothing())
    assert made.targets(Nothing(), torch.device("cpu")) is None
    assert made.check(Nothing()) is None  # type: ignore[func-returns-value]
    mine, inputs = model(), torch.ones(1, 2)
    assert torch.equal(made.predict(mine, inputs, None), mine(inputs)[1])
    with pytest.raises(RuntimeError, match="has no recipe"):
        made.loss(lambda inputs: (inputs, inputs), (inputs, inputs), None)


def test_a_recipe_is_made_without_torch() -> None:
    program = (
        "import sys, edgeloop.algorithm as a"
        "; a.Recipe(loss=print, epochs=1, lr=1.0, upload=print); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
