"""Where messages are signed, so are the steps of secure aggregation, on both sides."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from edgeloop.cohorts.events import DeviceMessage, Event
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.secure import SecureCohort, SecureTerms
from edgeloop.cohorts.stepped_log import MemorySteps
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import INCOMPLETE, Receipt
from edgeloop.protocol.task import SERVER, contract_topic, receipt_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.secure.exchange import UP, DeviceRound
from edgeloop.secure.messages import Masked, Survivors
from tests.cohorts import test_forged
from tests.cohorts.test_forged import Place
from tests.cohorts.test_forged import device as link_of
from tests.secure.hand_made import ALGORITHM, REPORT, expected, values
from tests.world import contract

pytestmark = pytest.mark.broker
place = test_forged.place
NAMES = {"one": "d0", "two": "d1", "three": "d2"}
"""The devices, and whose numbers they have."""

RUN = "run-summed"


def chunk(frame: bytes) -> bytes:
    (only,) = chunks.split(frame, 1 << 20)
    return only


def take_part(link: MqttConnection, name: str, meddle: Callable[[], None]) -> list[str]:
    """Take part in the sum; return why messages were not believed."""
    mine = Envelope("t", RUN, 0, name)
    round_, open_ = DeviceRound(mine, values(NAMES[name]), 3), Assembler(limit=1 << 20)
    last, refused, steps = wire.encode(mine, round_.public_keys, REPORT), [], 1
    link.subscribe(contract_topic("t"))  # with the aggregator's certificate
    link.send(upload_topic("t", name), last)
    while isinstance(event := link.receive(60), Arrival):
        event.acknowledge()
        if event.trust.refusal:
            refused.append(event.trust.refusal)
        elif event.topic == contract_topic("t"):
            continue
        elif event.payload[:1] == b"{":
            told = Receipt.model_validate_json(event.payload)
            if told.digest == wire.digest(last) and told.verdict == INCOMPLETE:
                link.send_again(upload_topic("t", name), last, told.missing, told.count)
            elif told.digest == wire.digest(last) and told.is_taken and steps == len(UP):
                return refused
        elif (payload := open_.offer(event.payload)) and (answer := round_.answer(payload)):
            meddle()
            last, steps = answer, steps + 1
            link.send(upload_topic("t", name), last)
    raise AssertionError("the round has not come to its end")


def test_who_has_no_key_can_say_nothing_in_a_round(place: Place) -> None:
    """Neither for a device, nor for the aggregator; and the sum is what it would have been."""
    heard: list[Event] = []
    forged = wire.encode(Envelope("t", RUN, 0, "one"), Masked(np.zeros(18, np.int64)))
    other = Envelope("t", RUN, 0, SERVER)
    asked = wire.encode(other, Survivors(np.array([True, False, True])))

    def meddle() -> None:
        place.forge(upload_topic("t", "one"), chunk(forged), {})
        place.forge(receipt_topic("t", "one"), chunk(asked), {})

    agreed = contract(run=RUN, class_names=("x", "y", "z"), devices=tuple(NAMES), secure=3)
    topics = MqttCohort.subscriptions("t")
    with ExitStack() as stack:
        server = stack.enter_context(MqttConnection(place.server, "server", topics))
        cohort = SecureCohort(
            server,
            agreed,
            ALGORITHM,
            RoundDeadlines(3, 60.0, 60.0),
            MemoryLog(),
            heard.append,
            terms=SecureTerms(MemorySteps()),
        )
        links = {name: stack.enter_context(link_of(place, name)) for name in NAMES}
        with ThreadPoolExecutor(len(NAMES)) as pool:
            parts = {
                name: pool.submit(take_part, link, name, meddle if name == "one" else lambda: None)
                for name, link in links.items()
            }
            answers = cohort.ask(0, ALGORITHM.start()[1])
            refused = {name: part.result(60) for name, part in parts.items()}
    assert {"it is not signed"} == set(refused["one"])
    assert refused["two"] == []
    verdicts = [each.verdict for each in heard if isinstance(each, DeviceMessage)]
    assert verdicts.count(Verdict.UNVERIFIED) == 3
    wanted = wire.fingerprint(expected(NAMES.values()))
    assert {wire.fingerprint(each.upload) for each in answers.values()} == {wanted}
