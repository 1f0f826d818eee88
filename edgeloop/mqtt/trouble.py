"""What is said of a broker that is away, refuses or is silent: errors, and lines in the log."""

import logging

from edgeloop.errors import BrokerAwayError, BrokerError
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

REPEAT_WARNING_SECONDS = 60.0  # between two lines on the same trouble


def broker_error(
    broker: BrokerSettings, problem: str, remedy: str, kind: type[BrokerError] = BrokerAwayError
) -> BrokerError:
    """Return an error of a broker, named by its address."""
    return kind(f"broker {broker.address}", problem, remedy)


def silence(broker: BrokerSettings) -> BrokerError:
    """Return what to do about a broker that takes a connection and says nothing."""
    remedy = "check that it speaks MQTT 5, without TLS unless ca_file is given"
    if broker.ca_file is not None:
        remedy = "check that it speaks MQTT 5, and accepts the certificate in certificate_file"
    return broker_error(broker, "does not answer", remedy)


class RepeatedWarnings:
    """Warns of the same thing once a minute."""

    def __init__(self) -> None:
        self._said: dict[str, Timer] = {}

    def warn(self, key: str, text: str, *facts: object) -> None:
        """Warn, unless it was warned of under this key less than a minute ago."""
        pace = self._said.get(key)
        if pace is None:
            if len(self._said) > 100:  # addresses in messages, say, that are never the same
                self._said.clear()
            self._said[key] = Timer(REPEAT_WARNING_SECONDS)
        elif not pace.due():
            return
        log.warning(text, *facts)
