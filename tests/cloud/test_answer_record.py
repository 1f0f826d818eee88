"""What an aggregator remembers of answers: bytes, refusals, spreads; of strangers little."""

from datetime import UTC, datetime

import pytest

from cloud.aggregator.answer_record import MOST_REFUSALS, AnswerRecord, Received
from cloud.aggregator.ledger import PastRound
from edgeloop.cohorts.events import DeviceMessage, UploadExcluded
from edgeloop.protocol.gathering import Verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAST = PastRound(3, 2, 0.5, 1.0)


@pytest.fixture
def record() -> AnswerRecord:
    return AnswerRecord(lambda: NOON)


def answer(
    device: str, verdict: Verdict = Verdict.ACCEPTED, size: int = 10, why: str = ""
) -> DeviceMessage:
    return DeviceMessage(device, verdict, size, reason=why)


def test_a_round_has_its_bytes_and_spread(record: AnswerRecord) -> None:
    record.opened(3, 1000)
    record.answered(answer("a"), 3, invited=True)
    record.answered(answer("b", size=5), 3, invited=True)
    record.closed(3, [0.5, 0.1, 0.9], {"loss": 2.0, "margin": float("nan")})
    told = record.told(PAST)
    assert (told.bytes_up, told.bytes_down) == (15, 1000)
    assert (told.low, told.median, told.high) == (0.1, 0.5, 0.9)
    assert told.measures == {"loss": 2.0}
    assert record.told(PastRound(2, 2, 0.5, 1.0)) == PastRound(2, 2, 0.5, 1.0)


def test_a_round_without_test_samples_has_no_spread(record: AnswerRecord) -> None:
    record.opened(3, 0)
    record.closed(3, [], {})
    assert record.told(PAST).median is None


def test_a_device_has_what_it_sent(record: AnswerRecord) -> None:
    record.answered(answer("a"), 0, invited=True)
    record.answered(answer("a", Verdict.LATE, 7), 1, invited=True)
    record.answered(answer("stranger"), 1, invited=False)
    assert record.received("a") == Received(17, NOON)
    assert record.received("stranger") == Received()


def test_a_refusal_says_why_once(record: AnswerRecord) -> None:
    record.answered(answer("a", Verdict.DUPLICATE), 1, invited=True)
    record.answered(answer("a", Verdict.MALFORMED, why="is no\nframe"), 1, invited=True)
    record.answered(answer("b" * 99, Verdict.UNINVITED), 1, invited=False)
    record.excluded(UploadExcluded(1, "c", "it is infinite"))
    first, second, third = record.refusals()
    assert (first.device, first.verdict, first.reason) == ("a", "malformed", r"is no\nframe")
    assert (first.round, first.at) == (1, NOON)
    assert (len(second.device), second.reason) == (64, "the device is not in the run")
    assert (third.verdict, third.reason) == ("implausible", "it is infinite")
    assert len({first.serial, second.serial, third.serial}) == 3


def test_a_flood_of_strangers_leaves_room_for_others(record: AnswerRecord) -> None:
    record.answered(answer("a", Verdict.LATE), 1, invited=True)
    for number in range(10 * MOST_REFUSALS):
        record.answered(answer(f"s{number}", Verdict.UNINVITED), 1, invited=False)
    assert record.refusals()[0].device == "a"
    assert len(record.refusals()) <= MOST_REFUSALS
