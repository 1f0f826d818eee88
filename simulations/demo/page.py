"""The demo's page: an `edgeloop server` that follows its aggregators, until Ctrl-C."""

import hashlib
import json
import os
import secrets
import sys
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from edgeloop.cli import console
from edgeloop.runtime.ports import free_port
from simulations.demo.processes import Processes
from simulations.demo.stage import DemoTask

LOOK_SECONDS = 0.5
"""Between two looks whether all processes still live."""


def is_wanted(said: bool | None) -> bool:
    """Return whether to show a page: as was said, else where a person sits before a terminal."""
    if said is not None:
        return said
    return not os.environ.get("CI") and sys.stdin.isatty() and sys.stdout.isatty()


class Page:
    """The server's page of a demo.

    Args:
        processes: where the server is started.
        tasks: that it shows.
        beside: folder of the run alone; drawn beside the tasks once it is there.

    Attributes:
        url: of the page.
        token: to sign in with: it may look at everything, and do nothing.
    """

    def __init__(self, processes: Processes, tasks: Sequence[DemoTask], beside: Path) -> None:
        self._processes = processes
        self.token = "elh-" + secrets.token_urlsafe(32)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/tasks/{tasks[-1].task}"
        folder = beside.parent / "server"
        folder.mkdir()
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        (folder / "tokens").write_text(f"viewer demo sha256:{digest}\n", encoding="utf-8")
        processes.start_server(_write(folder, port, tasks, beside))

    def say(self) -> None:
        """Say where it is, and open it where there is a desktop."""
        console.say(f"page: {self.url}")
        console.say(f"token to sign in with: {self.token}")
        if any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
            webbrowser.open(self.url)

    def stay(self) -> None:
        """Leave it up until Ctrl-C.

        Raises:
            RunError: if the server, or an aggregator, has ended.
        """
        console.say(f"the page stays at {self.url}; Ctrl-C ends it")
        try:
            while True:
                self._processes.working()
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            console.say("the page is closed")


def _write(folder: Path, port: int, tasks: Sequence[DemoTask], beside: Path) -> Path:
    """Write the server's file; return its path."""
    lines = [f"folder = {json.dumps(str(folder))}", f"port = {port}", "poll_seconds = 1"]
    lines.append(f"tokens_file = {json.dumps(str(folder / 'tokens'))}")
    lines.append("[alone]")
    lines += [f"{each.task} = {json.dumps(str(beside))}" for each in tasks]
    for each in tasks:
        url = f"http://127.0.0.1:{each.http_port}"
        lines += ["[[aggregators]]", f'name = "{each.task}"', f'url = "{url}"']
    path = folder / "server.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
