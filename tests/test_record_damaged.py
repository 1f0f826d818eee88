"""A record that is damaged replays nothing."""

from pathlib import Path

import pytest

from cloud.aggregator import recording
from edgeloop import record
from edgeloop.errors import ConfigError
from edgeloop.record import Record, RecordedMember, RecordedRound

ROUNDS = (RecordedRound(answered=("a", "b")), RecordedRound(answered=("b",), late=("a",)))
WHOLE = Record(
    task="t", run="r", algorithm="fedavg", rounds=ROUNDS, members=(RecordedMember(device="b"),)
)


def test_any_change_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "participation.json"
    recording.write(path, WHOLE)
    assert record.read(path) == WHOLE
    content = path.read_bytes()
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            assert record.read(path) == WHOLE  # white space
        except ConfigError as error:
            assert "replay" in error.field  # noqa: PT017 - either is right
    path.write_bytes(content.replace(b'"b"', b'"c"', 1))
    with pytest.raises(ConfigError, match="is no record, or damaged: its checksum differs"):
        record.read(path)
