"""Any byte that changes in a file that a device keeps is noticed, and so is any that is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.agent import leaving
from edge.agent.privacy_ledger import PrivacyLedger
from edge.agent.settings import DataSettings, DeviceSettings
from edgeloop.answers import Release
from edgeloop.errors import RunError
from edgeloop.privacy.accounting import Event
from edgeloop.runtime import atomic_files


def damages(whole: bytes) -> Iterator[bytes]:
    """Return a file with a bit flipped in each byte, and cut to every length."""
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        yield bytes(broken)
    for length in range(len(whole)):
        yield whole[:length]


def test_the_privacy_ledger_is_refused_or_the_same(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path)
    release = Release(b"key", (Event(noise=1.5, rate=0.25, times=40),))
    assert ledger.spend(release, 1e-5, None)
    path, spent, key = tmp_path / "privacy.json", ledger.events, ledger.key("a")
    whole = path.read_bytes()
    refused = 0
    for broken in damages(whole):
        path.write_bytes(broken)
        try:
            found = PrivacyLedger(tmp_path)
        except RunError:
            refused += 1
        else:
            assert (found.events, found.key("a")) == (spent, key)
    assert refused > 1.8 * len(whole)  # the rest is white space


def test_who_has_left_stays_away(tmp_path: Path) -> None:
    data = DataSettings(source="fashion-sample")
    device = DeviceSettings(name="one", task="shop", folder=tmp_path, data=data)
    leaving._note(tmp_path, "shop", "run-1", out=True)
    path = tmp_path / leaving.LEFT
    for broken in damages(path.read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="one has left shop"):
            leaving.check(device)


def test_a_checked_json_says_what_was_written_or_nothing(tmp_path: Path) -> None:
    path, content = tmp_path / "some.json", {"a": [1, 2.5, None], "b": {"c": "d"}, "e": True}
    atomic_files.write_checked_json(path, content)
    assert atomic_files.read_json(path) == content
    for broken in damages(path.read_bytes()):
        path.write_bytes(broken)
        try:
            found = atomic_files.read_json(path)
        except ValueError:
            continue
        assert found == content
