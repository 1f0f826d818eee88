"""Processes that take uploads beside an aggregator believe a device's own key only, as it does."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from cloud.aggregator.ledger import Ledger
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.test_group_commit import CONTRACT, DEVICES, answer, say
from tests.cloud.test_ingest import Device, replica
from tests.enrolled import guarded_broker, site
from tests.postgres import Postgres

pytestmark = [pytest.mark.postgresql, pytest.mark.broker]

ONE, OTHER = DEVICES[:2]


@dataclass(frozen=True)
class Place:
    """Who is there, as each of them connects.

    Attributes:
        server: the aggregator's processes, which check signatures.
        device: the first device, which signs.
        forger: who may write everything, and has no key of a device's.
    """

    server: BrokerSettings
    device: BrokerSettings
    forger: BrokerSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        here = stack.enter_context(site(tmp_path_factory.mktemp("site")))
        own, server = here.enrol(ONE, "t"), here.issue("aggregator", "t")
        operator = here.issue("operator", "t")
        guarded = stack.enter_context(guarded_broker(here))
        believes = {"devices_file": server / "devices.crt", "signatures": "required"}
        yield Place(
            guarded.settings(server, "aggregator").model_copy(update=believes),
            guarded.settings(own).model_copy(update={"signatures": "required"}),
            guarded.settings(operator, "operator"),
        )


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


def test_two_believe_signed_answers_only(place: Place, url: str) -> None:
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(url))
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        heard = Device(place.forger)  # an operator hears all receipts
        stack.enter_context(heard.connection)
        signer = stack.enter_context(MqttConnection(place.device, ONE, []))
        for _ in range(2):
            stack.enter_context(replica(url, place.server))
        say(heard.connection, OTHER, answer(OTHER))
        heard.hear(lambda: heard.receipts == [(OTHER, "unverified")])
        say(heard.connection, ONE, answer(ONE, 9.0))
        heard.hear(lambda: (ONE, "unverified") in heard.receipts)
        assert ledger.recall(0) == {}
        say(signer, ONE, answer(ONE))  # its certificate comes with what is sent again
        heard.hear(lambda: (ONE, "incomplete") in heard.receipts)
        say(signer, ONE, answer(ONE))
        heard.hear(lambda: (ONE, "accepted") in heard.receipts)
        assert ledger.recall(0) == {ONE: answer(ONE)}
