"""Orders and outcomes: their topics, who may say them, what is no order."""

import pytest
from pydantic import ValidationError

from edgeloop.protocol.rollout import (
    LONGEST_REASON,
    Order,
    Outcome,
    applied_topic,
    desired_topic,
    device_of,
    outcome,
    shipped_topic,
)
from edgeloop.protocol.signatures import Signer, may_say

ORDER = Order(rollout="r1", serial=7, kind="model", action="apply", sha256="0" * 64, size=10)


def test_they_come_back_as_they_were() -> None:
    assert Order.model_validate_json(ORDER.text()) == ORDER
    told = outcome(ORDER, "failed", "\ud800" + "x" * 1000)
    assert Outcome.model_validate_json(told.text()) == told
    assert (told.serial, len(told.reason)) == (7, LONGEST_REASON)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "weights"}, {"serial": 0}, {"sha256": "0" * 63}, {"size": 0}, {"action": "x"}],
)
def test_what_is_no_order_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Order.model_validate({**ORDER.model_dump(), **changes})


def test_a_topic_says_whose_it_is() -> None:
    assert device_of("t", desired_topic("t", "one", "model")) == "one"
    assert device_of("t", applied_topic("t", "one", "base")) == "one"
    for other in (
        shipped_topic("t", "0" * 64) + "/0",
        desired_topic("other", "one", "model"),
        desired_topic("t", "one", "weights"),
        "edgeloop/v1/t/presence/one",
    ):
        assert device_of("t", other) == ""


@pytest.mark.parametrize(
    ("signer", "topic", "may"),
    [
        (Signer("", "operator", True), desired_topic("t", "one", "model"), True),
        (Signer("", "operator", True), shipped_topic("t", "0" * 64) + "/0", True),
        (Signer("", "operator", True), "edgeloop/v1/t/contract", False),
        (Signer("", "operator", True), applied_topic("t", "one", "model"), False),
        (Signer("other", "operator", True), desired_topic("t", "one", "model"), False),
        (Signer("t", "aggregator", True), desired_topic("t", "one", "model"), True),
        (Signer("t", "aggregator", True), applied_topic("t", "one", "model"), False),
        (Signer("t", "one", False), applied_topic("t", "one", "model"), True),
        (Signer("t", "two", False), applied_topic("t", "one", "model"), False),
        (Signer("t", "one", False), desired_topic("t", "one", "model"), False),
        (Signer("t", "one", False), shipped_topic("t", "0" * 64) + "/0", False),
        (Signer("t", "operator", False), desired_topic("t", "operator", "model"), False),
    ],
)
def test_who_may_say_what(signer: Signer, topic: str, may: bool) -> None:
    assert may_say(signer, topic, b"x") is may
