"""Which devices a contract admits."""

import pytest
from pydantic import ValidationError

from edgeloop.protocol.admission import RESERVED, may_join
from edgeloop.protocol.task import SERVER, Contract, is_eviction, leaver, presence_topic
from edgeloop.runtime.config import PrivacySettings
from tests.world import contract


@pytest.mark.parametrize(
    ("name", "patterns", "joins"),
    [
        ("press-1", ("press-*",), True),
        ("press-", ("press-*",), True),
        ("Press-1", ("press-*",), False),
        ("xpress-1", ("press-*",), False),
        ("press-12", ("press-?",), False),
        ("b", ("a", "b"), True),
        ("b", (), False),
        ("anything.at_all", ("*",), True),
        ("aggregator", ("*",), False),
        ("Aggregator", ("*",), False),
        ("aggregator-2", ("*",), True),
        ("", ("*",), False),
        ("a/b", ("*",), False),
        ("a b", ("*",), False),
        ("n" * 64, ("*",), True),
        ("n" * 65, ("*",), False),
        ("a" * 64, ("*a" * 31 + "b",), False),
    ],
)
def test_a_pattern_admits_names(name: str, patterns: tuple[str, ...], joins: bool) -> None:
    assert may_join(name, patterns) is joins


def test_the_server_has_its_name_alone() -> None:
    assert SERVER in RESERVED


def test_a_contract_admits_who_is_listed_and_who_fits_but_not_who_is_out() -> None:
    agreed = contract(devices=("one", "two"), admit=("press-*",))
    assert [n for n in ("one", "two", "press-1", "three") if agreed.admits(n)] == [
        "one",
        "two",
        "press-1",
    ]
    left = agreed.without({"one", "press-1", "three"})
    assert (left.devices, left.excluded) == (("two",), ("press-1",))
    assert [n for n in ("one", "two", "press-1", "press-2") if left.admits(n)] == ["two", "press-2"]


def test_a_contract_without_patterns_is_the_one_that_older_devices_know() -> None:
    assert "admit" not in contract().text()
    assert "minor" not in contract().text()
    opened = contract(admit=("*",), devices=())
    assert '"minor":1' in opened.text()
    assert "admit" not in opened.text(grown=False)
    assert Contract.model_validate_json(opened.text()) == opened


@pytest.mark.parametrize("pattern", ["", "a/*", "[ab]", "-a", "a" * 65, "a\n"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        contract(admit=(pattern,))


def test_a_device_that_was_admitted_can_leave_and_be_evicted() -> None:
    agreed, notes = contract(devices=(), admit=("p*",)), {"run": "r"}
    topic = presence_topic("t", "p1")
    assert leaver(agreed, topic, b"left", notes) == "p1"
    assert leaver(agreed.without({"p1"}), topic, b"left", notes) is None
    assert is_eviction(agreed, b"evicted", notes)
    assert not is_eviction(agreed, b"evicted", {"run": "before"})
    assert not is_eviction(agreed, b"left", notes)


def test_what_is_learned_is_the_same_in_whichever_form_a_contract_is_told() -> None:
    agreed = contract(devices=("one",), admit=("press-*",), robust="norm")
    listed = agreed.model_copy(update={"devices": ("one", "press-1"), "excluded": ("press-2",)})
    for form in (agreed.text(), agreed.text(grown=False), listed.text()):
        assert Contract.model_validate_json(form).learned() == agreed.learned()
    noise = PrivacySettings(noise=2.0, clip=1.0)
    for change in ({"batch_size": 3}, {"run": "another"}, {"privacy": noise}):
        assert agreed.model_copy(update=change).learned() != agreed.learned()
