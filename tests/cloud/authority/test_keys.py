"""An authority's folder: what is killed as it is made is made again, and nothing else ever is."""

import os
import sys
from pathlib import Path

import pytest

from cloud.authority import keys
from cloud.authority.authority import utc
from cloud.authority.command import init
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import new_key
from edgeloop.errors import ConfigError, TakenError
from tests import forked

KILLED = """
import os, sys
from pathlib import Path
from cloud.authority.command import init

left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event in ("os.rename", "os.remove"):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(hook)
init(Path(sys.argv[1]))
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_at_any_file_it_is_made_again(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"{number}"
        words = [sys.executable, "-c", KILLED, str(folder), str(number)]
        if forked.run(words).returncode == 0:
            break
        before = files(folder)
        try:
            init(folder)
        except TakenError:  # it was killed at its end
            assert files(folder) == before
            assert keys.read(folder, DEVICES, None)
        for name in (DEVICES, SERVICES):
            keys.read(folder, name, None)
        assert (folder / "authority.toml").exists()
    assert number > 6


@pytest.mark.parametrize("lost", ["devices.crt", "devices.key", "services.crt", "services.key"])
def test_one_that_has_lost_a_file_is_not_made_again(lost: str, tmp_path: Path) -> None:
    keys.make(tmp_path, None, utc())
    (tmp_path / lost).unlink()
    before = files(tmp_path)
    with pytest.raises(TakenError, match="never made again"):
        init(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that are root's")
@pytest.mark.parametrize(
    ("mode", "user", "good"),
    [
        (0o440, 10001, True),
        (0o400, 10001, True),
        (0o444, 10001, False),
        (0o460, 10001, False),
        (0o440, 0, False),
        (0o600, 0, True),
    ],
)
def test_a_key_that_kubernetes_has_mounted(
    mode: int, user: int, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is root's, and the pod's group may read it: a pod that is not root takes that."""
    path = tmp_path / "services.key"
    keys.write_key(path, new_key())
    path.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if good:
        keys.read_key(path)
        return
    with pytest.raises(ConfigError, match="may be read by others"):
        keys.read_key(path)
