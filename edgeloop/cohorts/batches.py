"""Answers that are written together, while the next ones are judged, and then receipted."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from edgeloop.cohorts.events import Event
from edgeloop.cohorts.judging import Judged
from edgeloop.cohorts.uploads import UploadLog
from edgeloop.cohorts.write_behind import WriteBehind
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.runtime.tracing import Tracer

MOST_AT_ONCE = 200
"""Messages whose uploads are written together."""

INFLIGHT = 2 * MOST_AT_ONCE
"""Messages that the broker delivers before the first is acknowledged: so many are judged while
others are written."""


class BatchWriter:
    """Writes what counts of what was judged; then devices, the observer and the broker hear of it.

    Args:
        connection: that the messages came on.
        uploads: where uploads are safe.
        observe: called with each message, once what counts of it is safe.
        tracer: follows what is written.
    """

    def __init__(
        self,
        connection: MqttConnection,
        uploads: UploadLog,
        observe: Callable[[Event], None],
        tracer: Tracer,
    ) -> None:
        self._connection, self._uploads = connection, uploads
        self._observe, self._tracer = observe, tracer
        self._batch: list[tuple[Arrival, Judged | None]] = []  # judged, and not being written
        self._writes = WriteBehind()

    @property
    def room(self) -> int:
        """How many messages more the batch takes."""
        return MOST_AT_ONCE - len(self._batch)

    @property
    def is_writing(self) -> bool:
        """Whether something is being written, or was, and nobody has heard of it."""
        return self._writes.is_open

    def add(self, number: int, judged: Iterable[tuple[Arrival, Judged | None]]) -> None:
        """Take what was judged in a round; begin to write it unless another batch is written."""
        self._batch += judged
        if self.room <= 0 or not self._writes.is_running:
            self._begin(number)

    def write_all(self, number: int) -> None:
        """Return when all that was taken is safe, and everybody has heard of it."""
        self._begin(number)
        self._writes.settle()

    def write_now(self, number: int, judged: Sequence[Judged]) -> None:
        """Write what came earlier than its round, and has long been acknowledged."""
        if any(each.upload for each in judged):
            self._record(number, judged)
        self._confirm(judged, ())

    def _begin(self, number: int) -> None:
        """Begin to write the batch, after the one before is safe and confirmed."""
        self._writes.settle()
        batch, self._batch = self._batch, []
        judged = [each for _, each in batch if each is not None]
        confirm = partial(self._confirm, judged, [arrival for arrival, _ in batch])
        if any(each.upload for each in judged):
            self._writes.begin(partial(self._record, number, judged), confirm)
        else:
            confirm()

    def _confirm(self, judged: Iterable[Judged], arrivals: Iterable[Arrival]) -> None:
        """Let the observer, the devices and last the broker know of what is safe now."""
        with self._connection.together():
            for each in judged:
                if each.message is not None:
                    self._observe(each.message)
                each.receipt()
            for arrival in arrivals:
                arrival.acknowledge()

    def _record(self, number: int, judged: Iterable[Judged]) -> None:
        """Make the uploads of a batch safe, all in one step."""
        new = [each for each in judged if each.upload is not None]
        first, *others = (each.message.notes for each in new if each.message is not None)
        with self._tracer.span("record", first, others, uploads=len(new)):
            self._uploads.record_all(number, [each.upload for each in new if each.upload])
