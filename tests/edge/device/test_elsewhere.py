"""The device's file is somewhere else than where the command runs, as /etc/edgeloop is."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.agent.command import main
from edge.agent.settings import DeviceSettings
from edge.device import doctor, machine, rollback, status
from edgeloop.errors import ConfigError
from edgeloop.runtime import config as config_files
from tests import strangers
from tests.edge.test_joining import pictures


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that commands run in; `etc`, within it, is where the file is."""
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(here: Path) -> None:
    """Write a file as its owner does, with names that are not whole paths."""
    text = 'name = "press-1"\ntask = "shop"\nfolder = "device"\n[data]\nsource = "photos"\n'
    (here / "etc" / "device.toml").write_text(text)


def test_init_writes_whole_paths(here: Path) -> None:
    pictures(here / "photos", {"ok": 4, "dent": 4})
    words = ["init", "--name", "press-1", "--task", "shop", "--data", "photos", "--host", "b"]
    more = ["--ca-file", "ca.pem", "--config", "etc/device.toml"]
    assert main([*words, *more]) == 0
    device = config_files.read(here / "etc/device.toml", DeviceSettings)
    assert device.folder == here / "press-1"
    assert device.data.source == str(here / "photos")
    assert device.broker.ca_file == here / "ca.pem"
    assert main([*words, "--config", "device.toml"]) == 0
    assert config_files.read(Path("device.toml"), DeviceSettings).folder == Path("press-1")


def test_what_is_no_path_stays(here: Path) -> None:
    words = ["init", "--name", "a", "--task", "shop", "--data", "fashion-sample", "--host", "b"]
    assert main([*words, "--config", "etc/device.toml"]) == 0
    device = config_files.read(here / "etc/device.toml", DeviceSettings)
    assert device.data.source == "fashion-sample"


@pytest.mark.parametrize("command", ["status", "rollback"])
def test_a_service_s_folder_is_not_looked_for_here(here: Path, command: str) -> None:
    write(here)
    (here / "etc" / "device").mkdir()
    with pytest.raises(ConfigError, match=r"folder: device is not in .*, and is in .*etc; run the"):
        main([command, "--config", "etc/device.toml"])


def test_the_doctor_ends_nobody_elses_connection(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would look into a folder that no agent holds, and take the broker for free."""
    write(here)
    (here / "etc" / "device").mkdir()
    assert main(["doctor", "--config", "etc/device.toml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [each["what"] for each in found] == ["settings"]
    assert not (here / "device").exists()


def test_a_device_without_a_folder_yet_is_stopped(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here)
    assert main(["status", "--config", "etc/device.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


def test_a_port_of_0_is_none(here: Path) -> None:
    pictures(here / "photos", {"ok": 4})
    words = ["init", "--name", "a", "--task", "shop", "--data", "photos", "--host", "b"]
    with pytest.raises(ConfigError, match=r"broker\.port: 0 is too small"):
        main([*words, "--port", "0"])


def test_a_name_that_is_no_utf_8_is_said(here: Path) -> None:
    pictures(here / "photos\udcff", {"ok": 4})
    words = ["init", "--name", "a", "--task", "shop", "--data", "photos\udcff", "--host", "b"]
    with pytest.raises(ConfigError, match="a name is no text in UTF-8"):
        main(words)
    assert not (here / "device.toml").exists()


@pytest.fixture
def closed() -> Iterator[Path]:
    """Return the file of a device whose folder is below one that this user may not look into."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as made:
        place = Path(made)
        place.chmod(0o755)
        (place / "private" / "device").mkdir(parents=True)
        config = place / "device.toml"
        facts = f'name = "press-1"\ntask = "shop"\nfolder = "{place}/private/device"\n'
        config.write_text(f'{facts}[data]\nsource = "photos"\n')
        (place / "private").chmod(0)
        who = os.geteuid()
        if who == 0:
            os.seteuid(strangers.USER)
        try:
            yield config
        finally:
            os.seteuid(who)
            (place / "private").chmod(0o700)


@pytest.mark.parametrize("name", [None, "press-2"])
def test_a_folder_that_this_user_may_not_look_into(closed: Path, name: str | None) -> None:
    problem = (
        r"cannot be looked into \(Permission denied\); run it as root or as the service's user"
    )
    for command in (status.status, rollback.rollback):
        with pytest.raises(ConfigError, match=problem):
            command(closed, name)
    (finding,) = doctor.examine(closed, name)
    assert (finding.what, finding.status) == ("settings", "error")
    assert "run it as root or as the service's user" in finding.line()
    assert not machine.is_at_work(closed.parent / "private" / "device")
