"""What aggregators say of answers, and what devices reach alone, as the API has it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.aggregator.answer_record import RefusedAnswer
from cloud.aggregator.http import Details
from cloud.aggregator.ledger import PastRound
from cloud.aggregator.waiting import DeviceStatus
from cloud.console.alone import AloneRuns
from cloud.console.reported import Reported, ReportedDevice, ReportedRound
from cloud.console.sources import Sighting
from tests.cloud.console.serving import Running, aggregator, console, console_of, status

API = "/api/v1"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REFUSED = RefusedAnswer(
    serial="p.1", device="press-1", round=2, verdict="late", reason="too late", at=NOON
)


def rounds(running: Running) -> Any:
    return running.ask(f"{API}/runs/run-doors/rounds").json()["items"]


def test_refusals_bytes_and_measures_are_told_once(tmp_path: Path) -> None:
    known = PastRound(0, 4, 0.5, 1.0, 40, 900, 0.1, 0.2, 0.3, {"loss": 0.5})
    sent = DeviceStatus(name="press-0", state="answered", received=40, last_answer=NOON)
    first = status("doors", 1).model_copy(
        update={"refusals": (REFUSED,), "history": (known,), "devices": (sent,)}
    )
    said = [first]
    with console_of(tmp_path, lambda: said[0]) as running:
        running.wait(f"{API}/refusals", lambda page: bool(page["items"]))
        (round_,) = rounds(running)
        assert (round_["bytes_up"], round_["bytes_down"]) == (40, 900)
        assert (round_["low"], round_["median"], round_["high"]) == (0.1, 0.2, 0.3)
        assert round_["measures"] == {"loss": 0.5}
        device = running.ask(f"{API}/tasks/doors/devices/press-0").json()
        assert (device["received"], device["last_answer"][:19]) == (40, "2026-01-01T12:00:00")
        # A restarted aggregator has forgotten what round 0 was like, and tells of one refusal more.
        again = REFUSED.model_copy(update={"serial": "q.1", "verdict": "malformed"})
        said[0] = status("doors", 2).model_copy(update={"refusals": (REFUSED, again)})
        page = running.wait(f"{API}/refusals", lambda page: len(page["items"]) > 1)
        assert [each["verdict"] for each in page["items"]] == ["malformed", "late"]
        assert rounds(running)[0]["bytes_up"] == 40
        assert rounds(running)[0]["measures"] == {"loss": 0.5}
        assert rounds(running)[1]["measures"] is None


def test_a_device_is_evicted_when_its_aggregator_says_so(tmp_path: Path) -> None:
    said = [status("doors")]
    with console_of(tmp_path, lambda: said[0]) as running:
        path = f"{API}/tasks/doors/devices/press-1"
        running.wait(path, lambda device: not device["evicted"])
        said[0] = said[0].model_copy(update={"evicted": ("press-1",)})
        running.wait(path, lambda device: bool(device["evicted"]))


def test_devices_that_the_status_leaves_out_are_asked_for(tmp_path: Path) -> None:
    every = [DeviceStatus(name=f"d{n:04}", state="waiting") for n in range(1200)]
    first = status("doors").model_copy(
        update={"devices": tuple(every[:1000]), "devices_left_out": 200}
    )

    def after(name: str) -> list[DeviceStatus]:
        return [each for each in every if each.name > name][:1001]

    with aggregator(lambda: first, Details(after)) as url:
        followed = [{"name": "doors", "url": url}]
        with console(tmp_path, aggregators=followed) as running:
            running.wait(f"{API}/tasks/doors", lambda task: bool(task["devices"] == 1200))
            assert running.ask(f"{API}/tasks/doors/devices/d1199").status_code == 200


def seen(*devices: str, agents: tuple[tuple[str, Path], ...] = ()) -> Sighting:
    reported = Reported(
        task="doors",
        run="r",
        algorithm="fedproto",
        phase="running",
        round=1,
        rounds=2,
        history=(ReportedRound(number=0, participants=2),),
        devices=tuple(ReportedDevice(name=each, state="waiting") for each in devices),
    )
    return Sighting("doors", "Running", reported=reported, agents=agents)


def told(runs: AloneRuns, sighting: Sighting) -> tuple[list[float | None], list[float | None]]:
    found = runs.added(sighting).reported
    assert found is not None
    return [each.alone for each in found.history], [each.alone for each in found.devices]


def test_a_run_of_local_is_laid_beside_a_task(tmp_path: Path) -> None:
    local = {
        "accuracy_by_round": [0.25, 0.5],
        "accuracy_by_client": {"client-1": 0.75, "client-0": 0.5},
    }
    (tmp_path / "summary.json").write_text(json.dumps(local))
    runs = AloneRuns({"doors": tmp_path})
    assert told(runs, seen("a", "b")) == ([0.25], [0.5, 0.75])
    assert told(runs, seen("a", "b", "c")) == ([0.25], [None] * 3)
    assert told(runs, seen("client-1", "client-7")) == ([0.25], [0.75, None])
    assert told(AloneRuns({}), seen("a", "b")) == ([None], [None, None])


def test_what_a_device_here_has_measured_counts(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"mix": {"alone": 0.625}}))
    sighting = seen("a", "b", agents=(("b", tmp_path),))
    assert told(AloneRuns({}), sighting) == ([None], [None, 0.625])


def test_what_an_ended_device_has_put_into_use_is_told(tmp_path: Path) -> None:
    mix = {"weight": 0.0, "why": "it was worse", "alone": 0.625, "mixed": 0.625, "test_samples": 8}
    sighting = seen("a", "b", agents=(("b", tmp_path),))
    assert sighting.reported is not None
    run = sighting.reported.run
    for more, told_of in (
        ({"run": run}, True),
        ({"run": run, "onnx": "model.onnx", "gate": {"keeps": "new", "old_run": None}}, True),
        ({"run": "another run"}, False),
        ({"run": run, "onnx": None}, False),
        ({"run": run, "epsilon": 2.0}, False),
    ):
        (tmp_path / "summary.json").write_text(json.dumps({"mix": mix, **more}))
        found = AloneRuns({}).added(sighting).reported
        assert found is not None
        quiet, ended = (each.reason for each in found.devices)
        assert quiet == ""
        assert ended.startswith("in use: what was learned alone (it was worse)") == told_of


@pytest.mark.parametrize("text", ["", "[]", '{"accuracy_by_client": 3}'])
def test_a_damaged_summary_is_said_and_left_out(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "summary.json").write_text(text)
    runs = AloneRuns({"doors": tmp_path})
    assert told(runs, seen("a")) == ([None], [None])
    assert told(runs, seen("a")) == ([None], [None])
    assert len([each for each in caplog.records if "is damaged" in each.message]) == 1
