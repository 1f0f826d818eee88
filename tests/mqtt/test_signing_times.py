"""An aggregator whose clock was ahead, and is set right, is believed after a restart, too."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge.agent.freshness import Freshness
from edgeloop.mqtt.seal import Seal
from edgeloop.mqtt.signing_times import FILE, RESERVED_MS, SigningTimes
from edgeloop.protocol.task import contract_topic
from tests.signed import Pki, arrives

TOPIC = contract_topic("t")


def test_a_clock_that_is_set_right_over_a_restart(tmp_path: Path) -> None:
    """The device has heard what was signed two days ahead, and takes what is said now."""
    (tmp_path / "pki").mkdir()
    pki, fresh = Pki(tmp_path / "pki"), Freshness(tmp_path, "t")
    server, listens = pki.broker(pki.issue("aggregator", signer="services")), pki.device()

    def refusal(seal: Seal, payload: bytes) -> str:
        trusted = listens.checked(arrives(seal, TOPIC, payload))
        return trusted.trust.refusal or fresh.refusal(trusted)

    folder = tmp_path / "task"
    folder.mkdir()
    ahead = Seal(server, (pki.now + timedelta(days=2)).timestamp, folder)
    assert refusal(ahead, b"before") == ""
    right = Seal(server, pki.now.timestamp, folder)
    assert refusal(right, b"now") == ""
    assert refusal(right, b"and on") == ""


def test_times_never_go_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = SigningTimes(tmp_path, lambda: 5_000.0)
    assert [first.next(), first.next()] == [5_000_000, 5_000_001]
    later = SigningTimes(tmp_path, lambda: 5_001.0)
    assert later.next() > 5_000_001
    assert not caplog.text, "a restart is no clock that was set back"
    back = SigningTimes(tmp_path, lambda: 1_000.0)
    assert back.next() > 5_000_001 + RESERVED_MS
    assert "this machine's clock was 4020 s further: messages are signed on from" in caplog.text


def test_a_note_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text("{")
    times = SigningTimes(tmp_path, lambda: 5.0)
    assert "is damaged" in caplog.text
    assert times.next() == 5_000
    lost = SigningTimes(tmp_path / "not there", lambda: 5.0)
    assert lost.next() == 5_000
    assert "cannot be written" in caplog.text


def test_without_a_folder_nothing_is_noted() -> None:
    assert SigningTimes(None, lambda: 5.0).next() == 5_000
    assert SigningTimes(None, lambda: 4.0).next() == 4_000
