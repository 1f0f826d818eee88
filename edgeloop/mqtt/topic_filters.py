"""What a client subscribes to, and what of it the broker refuses to send."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeloop.mqtt.paho_client import PahoClient
from edgeloop.mqtt.reason_codes import remedy_for
from edgeloop.mqtt.trouble import RepeatedWarnings

UNUSED = "edgeloop/v1/unused"
"""A topic that has no messages: a subscription to it is answered, if only by a refusal."""


class Answer(NamedTuple):
    """The broker's answer to `TopicFilters.ask`.

    Attributes:
        number: of the question.
    """

    number: int


class TopicFilters:
    """The topic filters of one client, subscribed again at each connection.

    Args:
        client: paho's.
        filters: the first.
        warnings: of what is refused.
        refused: called, on the network thread, with a reason.
        answered: called, on the network thread, when the broker has answered a subscription.

    Attributes:
        on_answer: called, on the network thread, when it has answered `ask` or `look`.
    """

    on_answer: Callable[[Answer], None]

    def __init__(
        self,
        client: PahoClient,
        filters: Sequence[str],
        warnings: RepeatedWarnings,
        refused: Callable[[str], None],
        answered: Callable[[], None],
    ) -> None:
        self._client = client
        self._filters = tuple(filters)  # always replaced as a whole: two threads look at it
        self._warnings, self._tell, self._answered = warnings, refused, answered
        self._noting = threading.RLock()  # the broker may answer before paho returns a number
        self._asked: dict[int, tuple[str, ...]] = {}
        self._unheard: dict[str, str] = {}  # filters that the broker refuses, and why
        client.on_subscribe = self._on_subscribe

    def subscribe_all(self) -> None:
        """Subscribe at a new connection; where there is nothing to ask for, that is answered."""
        if self._filters:
            self._subscribe(self._filters)
        else:
            self._answered()

    def add(self, name: str) -> None:
        """Have the messages of one more topic filter, the retained ones at once."""
        self._filters = (*self._filters, name)
        self._subscribe((name,))

    def look(self, name: str) -> None:
        """Have what the broker keeps of a topic; that it may be refused is nobody's trouble."""
        self._subscribe((name,), quietly=True)

    def remove(self, name: str) -> None:
        """Have the messages of a topic filter no longer."""
        self._filters = tuple(each for each in self._filters if each != name)
        self._unheard.pop(name, None)
        self._client.unsubscribe(self._client.full(name))

    def ask(self) -> Answer | None:
        """Ask the broker for an answer, behind all that it has to send; return what it will be.

        None without a connection.
        """
        # The broker of a wheel does not answer who parts from what it does not have.
        number = self._subscribe((UNUSED,), quietly=True)
        self._client.unsubscribe(self._client.full(UNUSED))
        return None if number is None else Answer(number)

    def refused(self) -> dict[str, str]:
        """Return the filters that the broker refuses now, and why."""
        return self._unheard.copy()

    def ask_again(self) -> None:
        """Subscribe again to what the broker has refused to send."""
        if self._unheard and self._client.is_connected():
            self._subscribe(tuple(self._unheard))

    def _subscribe(self, filters: tuple[str, ...], quietly: bool = False) -> int | None:
        """Return the number that the broker's answer will have; None without a connection."""
        options = [(self._client.full(name), SubscribeOptions(qos=1)) for name in filters]
        with self._noting:
            code, number = self._client.subscribe(options)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
                return None
            self._asked[number] = () if quietly else filters
            return number

    def _on_subscribe(
        self,
        _client: Client,
        _data: Any,
        number: int,
        reasons: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = {at: each for at, each in enumerate(reasons) if each.is_failure}
        with self._noting:
            filters = self._asked.pop(number, None)
        if filters == ():
            self.on_answer(Answer(number))
            return
        for at, name in enumerate(filters or ()):
            self._unheard.pop(name, None)
            if at in refused:
                self._unheard[name] = str(refused[at])
        for at, reason in refused.items():
            self._tell(str(reason))
            name = self._client.full(filters[at]) if filters else "a topic"
            text = "the broker refuses to send %s to %s (%s); %s"
            remedy = remedy_for(reason.value, self._client.account)
            facts = name, self._client.name, reason, remedy
            self._warnings.warn(f"subscribe {name}", text, *facts)
        self._answered()
