"""How long each page of `edgeloop server` takes with 10,000 devices in its database.

    python -m benchmarks.console

20 tasks of 500 devices and 200 rounds; 30 requests a page, one after another, over HTTP.
"""

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from cloud.console.reported import Reported, ReportedDevice, ReportedRound
from cloud.console.service import serving
from cloud.console.settings import ServerSettings
from cloud.console.sources import Sighting
from cloud.console.store import Store
from cloud.console.taking import take
from cloud.http.access import new_token

TASKS, DEVICES, ROUNDS, TIMES = 20, 500, 200, 30
PAGES = ("/", "/tasks/task-0", "/tasks/task-0/devices/press-1", "/refusals", "/audit")
LISTS = ("/api/v1/tasks", "/api/v1/devices?limit=1000", "/api/v1/tasks/task-0/devices/press-1")


def seen(number: int) -> Sighting:
    """Return a task with all that is known of it."""
    name = f"task-{number}"
    history = tuple(
        ReportedRound(number=each, participants=DEVICES, accuracy=0.5, seconds=3.0)
        for each in range(ROUNDS)
    )
    devices = tuple(
        ReportedDevice(name=f"press-{each}", state="training", accuracy=0.5)
        for each in range(DEVICES)
    )
    reported = Reported(
        task=name,
        run=f"run-{number}",
        algorithm="fedproto",
        phase="running",
        round=ROUNDS,
        rounds=1000,
        history=history,
        devices=devices,
    )
    return Sighting(name, "Running", "fedproto", 1000, reported)


def main() -> None:
    """Print the median and the longest time of each page, in milliseconds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        token, digest = new_token()
        (folder / "tokens").write_text(f"admin bench {digest}")
        settings = ServerSettings.model_validate(
            {
                "folder": folder,
                "tokens_file": folder / "tokens",
                "port": 0,
                "aggregators": [{"name": "away", "url": "http://127.0.0.1:9"}],
            }
        )
        store = Store(settings.database())
        take(store, "aggregator", [seen(number) for number in range(TASKS)])
        store.close()
        with serving(settings) as server:
            _measure(f"http://127.0.0.1:{server.port}", token)


def _measure(url: str, token: str) -> None:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}) as client:
        for path in (*PAGES, *LISTS):
            taken = []
            for _ in range(TIMES):
                begun = time.perf_counter()
                client.get(path).raise_for_status()
                taken.append(1000 * (time.perf_counter() - begun))
            print(f"{path:45} median {statistics.median(taken):6.1f} ms, max {max(taken):6.1f} ms")


if __name__ == "__main__":
    main()
