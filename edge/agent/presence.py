"""Says what the device is doing, on its presence: what passes at once is not said."""

import threading
import time
from dataclasses import dataclass

import edgeloop
from edge.agent.supervised import ALONE, Supervised
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.presence import LONGEST_REASON, Presence, State, notes_of

DELAY_SECONDS = 1.0
"""What has ended before so long is not said: rounds can be short, and devices many."""

NOTED = (State.FETCHING, State.TRAINING, State.ANSWERED, State.EVALUATING)
"""In the other states a reason says why the device does not work."""

REFRESH_SECONDS = 300.0
"""Between two times that it is said: a broker may remember a device that is gone."""


@dataclass
class PresenceTeller:
    """Keeps what a device says of itself up to date.

    Args:
        connection: of the device.
        supervised: hears of it on this machine.
    """

    connection: MqttConnection
    supervised: Supervised = ALONE

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._said = Presence(version=edgeloop.__version__[:32], since=time.time())
        self._timer: threading.Timer | None = None
        self._note = ""

    @property
    def refusal(self) -> str:
        """That a contract was refused, and why; empty if none was, or another one was taken."""
        said = self._said
        return f"the one that is there was refused: {said.reason}" * (said.state == State.REFUSED)

    def note(self, text: str) -> None:
        """Have what is said of work have this reason, where it has none of its own."""
        with self._lock:
            self._note = text

    def say(
        self,
        state: State,
        run: str | None = None,
        round_number: int | None = None,
        reason: str = "",
        in_use: str = "",
    ) -> None:
        """The device does something else from now on, if it does not do that already.

        What it has put into use at a run's end stays said in all that it does in that run.
        """
        with self._lock:
            before = self._said
            in_use = in_use or (before.in_use if run == before.run else "")
            reason = reason or (self._note if state in NOTED else "")
            changes = {
                "state": state.value,
                "run": run,
                "round": round_number,
                "settled": before.settled if run == before.run else None,
                "reason": _shortened(reason),
                "in_use": _shortened(in_use),
            }
            after = before.model_copy(update=changes)
            if after != before:
                self._said = after.model_copy(update={"since": time.time()})
                self.supervised.working(state)
                self._set(DELAY_SECONDS)

    def obstacle(self, why: str) -> None:
        """What the device is doing does not go on, and why; until it does something else.

        Args:
            why: for a person; empty once it goes on.
        """
        with self._lock:
            reason, said = _shortened(why), self._said
            has_own = said.reason and said.state in (State.REFUSED, State.SLEEPING)
            if reason != said.reason and not has_own:
                self._said = said.model_copy(update={"reason": reason})
                self._set(DELAY_SECONDS)

    @property
    def why(self) -> str:
        """Why what the device is doing does not go on, as it was said last."""
        return self._said.reason

    def resume(self) -> None:
        """Say again what the device is doing, from time to time."""
        with self._lock:
            self._set(DELAY_SECONDS)

    def settled(self, run: str, round_number: int, at_once: bool) -> None:
        """The device has the receipt of a round's answer.

        Args:
            run: the run.
            round_number: the round.
            at_once: whether somebody waits for that to be said.
        """
        with self._lock:
            self._said = self._said.model_copy(update={"run": run, "settled": round_number})
            if at_once:
                self._publish()

    def rest(self) -> None:
        """Say nothing any more, until `resume`."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _set(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._on_timer)
        self._timer.daemon = True
        self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._set(REFRESH_SECONDS)
                self._publish()

    def _publish(self) -> None:
        self.connection.say_presence(notes_of(self._said))
        self.supervised.say(self._said)


def _shortened(text: str) -> str:
    return text[:LONGEST_REASON].encode(errors="replace").decode()
