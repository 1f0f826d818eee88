"""A server over real aggregators' HTTP interfaces, for the tests; what they say is made up."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cloud.aggregator.http import Details, Server, Status, app
from cloud.aggregator.ledger import PastRound
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.waiting import DeviceStatus
from cloud.console.service import serving
from cloud.console.settings import ServerSettings
from cloud.http.access import new_token
from edgeloop.runtime.config import parse

NOTHING = Details()
ROLES = ("viewer", "operator", "admin")


def status(task: str, round_number: int = 3, phase: Any = "running", devices: int = 4) -> Status:
    return Status(
        task=task,
        run=f"run-{task}",
        algorithm="fedproto",
        phase=phase,
        round=round_number,
        rounds=20,
        accuracy=0.5,
        history=tuple(PastRound(n, 4, 0.1 * n, 1.5) for n in range(round_number)),
        broker_connected=True,
        generator_problem=None,
        ledger_open=True,
        devices=tuple(
            DeviceStatus(name=f"press-{n}", state="training", accuracy=0.1 * (n % 10))
            for n in range(devices)
        ),
    )


@contextmanager
def aggregator(said: Callable[[], Status], details: Details = NOTHING) -> Iterator[str]:
    """Serve what an aggregator says; yield the URL."""
    server = Server(app(said, Metrics(), details), "127.0.0.1", 0)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


@dataclass
class Running:
    """A running server, and a token of each role."""

    url: str
    tokens: dict[str, str]

    def ask(self, path: str, role: str = "viewer", method: str = "GET", **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.request(method, self.url + path, headers=headers, timeout=30, **more)

    def wait(self, path: str, met: Callable[[Any], bool], seconds: float = 20) -> Any:
        given_up = time.monotonic() + seconds
        while True:
            answer = self.ask(path)
            if answer.status_code == 200 and met(answer.json()):
                return answer.json()
            assert time.monotonic() < given_up, answer.text
            time.sleep(0.05)


@contextmanager
def console(folder: Path, **settings: Any) -> Iterator[Running]:
    """Run a server."""
    folder.mkdir(exist_ok=True)
    tokens = {role: new_token() for role in ROLES}
    lines = [f"{role} some-{role} {digest}" for role, (_, digest) in tokens.items()]
    (folder / "tokens").write_text("\n".join(lines))
    table = {
        "folder": str(folder),
        "tokens_file": str(folder / "tokens"),
        "port": 0,
        "poll_seconds": 0.2,
        **settings,
    }
    with serving(parse(table, ServerSettings, "test")) as server:
        yield Running(
            f"http://127.0.0.1:{server.port}", {role: text for role, (text, _) in tokens.items()}
        )


@contextmanager
def console_of(
    folder: Path, *said: Callable[[], Status], names: tuple[str, ...] = ("doors", "press")
) -> Iterator[Running]:
    """Run a server that looks at aggregators of these names."""
    with ExitStack() as stack:
        urls = [stack.enter_context(aggregator(each)) for each in said]
        followed = [{"name": name, "url": url} for name, url in zip(names, urls, strict=False)]
        yield stack.enter_context(console(folder, aggregators=followed))
