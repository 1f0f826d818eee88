"""What a device puts into use is said in one sentence."""

from typing import Any

import pytest

from edgeloop.mixing.wording import accuracy_in_use, in_use

MIX = {"weight": 0.25, "why": "most hits", "test_samples": 1000}
WORTH = {"mixed": 0.505, "alone": 0.469, "together": 0.349}


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [
        ({}, ""),
        ({"mix": None}, ""),
        ({"mix": {"weight": None}}, ""),
        ({"mix": {"weight": 1.0}}, "in use: what was learned together"),
        ({"mix": {"weight": 0, "why": "w"}}, "in use: what was learned alone (w)"),
        ({"mix": MIX}, "in use: a mixture, 25% together and 75% alone (most hits)"),
        (
            {"mix": {**MIX, **WORTH}},
            "in use: a mixture, 25% together and 75% alone (most hits); accuracy on 1,000 test"
            " samples: 0.505 in use, 0.469 alone, 0.349 together",
        ),
        ({"mix": {**MIX, **WORTH, "test_samples": 0}, "gate": {"keeps": "new"}}, "in use: a mixtu"),
        (
            {"mix": MIX, "gate": {"keeps": "old", "old_run": "r1"}},
            "in use: still the model of run r1, better on held-out samples",
        ),
        (
            {"mix": MIX, "gate": {"keeps": "old", "old_run": None}},
            "in use: still the model that was there, better",
        ),
        ({"mix": {"weight": 0.996}}, "in use: a mixture, 99.6% together and 0.4% alone"),
        ({"mix": {"weight": float("nan")}}, ""),
        ({"mix": MIX, "onnx": None}, ""),
        ({"mix": MIX, "onnx": "model.onnx"}, "in use: a mixture, 25%"),
    ],
)
def test_what_is_said(summary: dict[str, Any], sentence: str) -> None:
    said = in_use(summary)
    assert said.startswith(sentence)
    assert bool(said) == bool(sentence)
    assert len(said) < 300  # as much as a presence carries


@pytest.mark.parametrize(
    ("more", "accuracy"),
    [
        ({}, 0.505),
        ({"gate": {"keeps": "new"}, "onnx": "model.onnx"}, 0.505),
        ({"gate": {"keeps": "old", "old_run": "r1"}, "onnx": "model.onnx"}, None),
        ({"onnx": None}, None),
        ({"mix": None}, None),
        ({"mix": {**MIX, "mixed": None}}, None),
        ({"mix": {**MIX, "mixed": float("nan")}}, None),
    ],
)
def test_the_accuracy_is_that_of_what_is_in_use(
    more: dict[str, Any], accuracy: float | None
) -> None:
    assert accuracy_in_use({"mix": {**MIX, **WORTH}, **more}) == accuracy
