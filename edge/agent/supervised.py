"""What an agent says of itself on its machine: to systemd, and in a file that `status` reads.

    status.json    what the device is doing, as its presence says it, and the process that does it

systemd's protocol is a datagram of lines such as READY=1 to the socket that $NOTIFY_SOCKET names.
Its watchdog is answered from a thread, as long as the agent's own loop goes on: training may take
hours, and a loop that hangs is what the watchdog is for. Source: sd_notify(3).
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from edgeloop.protocol.presence import Presence, State
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

STATUS = "status.json"

LOOP_SECONDS = 300.0
"""Within which the agent's loop comes round while it waits; it looks up once a minute at least."""

WORK_SECONDS = 86_400.0
"""Within which it comes round while it trains, evaluates or makes its model."""

WORKING = frozenset({State.TRAINING.value, State.EVALUATING.value, State.FINISHING.value})


class Supervised:
    """Speaks to systemd, where that has started the process, and keeps the file.

    Args:
        folder: of the device; None to keep no file.
        environment: of the process.
    """

    def __init__(self, folder: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._socket = environment.get("NOTIFY_SOCKET", "")
        own = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = int(environment.get("WATCHDOG_USEC", 0)) / 1e6 if own else 0.0
        self._ended, self._working = threading.Event(), False
        self._turn = float("inf")  # the loop has not begun: the first connection may take long
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.notify("READY=1")
        if self._watchdog:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.notify("STOPPING=1")
        if self._thread.is_alive():
            self._thread.join()

    def turn(self) -> None:
        """The agent's loop comes round."""
        self._turn, self._working = time.monotonic(), False

    def working(self, state: State) -> None:
        """The agent begins something, which takes long if it is work."""
        self._working = state.value in WORKING

    def say(self, presence: Presence) -> None:
        """The device does something for so long that it is said."""
        round_ = "" if presence.round is None else f" round {presence.round}"
        self.notify(f"STATUS={presence.state}{round_} {presence.reason}".strip())
        if self._folder is not None:
            facts = {**presence.model_dump(mode="json"), "pid": os.getpid(), "said": time.time()}
            with suppress(OSError):  # a full disk: the presence has it all the same
                atomic_files.write_json(self._folder / STATUS, facts)

    def hangs(self) -> bool:
        """Return whether the agent's loop has not come round for too long."""
        limit = WORK_SECONDS if self._working else LOOP_SECONDS
        return time.monotonic() - self._turn > limit

    def notify(self, text: str) -> None:
        """Send systemd some lines; nothing where it does not listen."""
        if not self._socket:
            return
        place = f"\0{self._socket[1:]}" if self._socket.startswith("@") else self._socket
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(text.encode(errors="replace"), place)
        except OSError as error:
            log.debug("systemd does not listen on %s: %s", self._socket, error)

    def _run(self) -> None:
        while not self._ended.wait(self._watchdog / 3):
            if not self.hangs():
                self.notify("WATCHDOG=1")


ALONE = Supervised(None, {})
"""Of an agent that nobody supervises."""
