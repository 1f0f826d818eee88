"""`edgeloop base serve`, `serve-files`, `remove-files` and `fetch`."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cloud.generator_service.bases import repository
from edgeloop import bases
from edgeloop.bases import remote
from edgeloop.bases.manifest import GRAPH, MANIFEST
from edgeloop.bases.remote import INDEX
from edgeloop.bases.running import Base
from edgeloop.cli.main import main
from edgeloop.errors import BaseError, ConfigError
from tests import forked
from tests.bases.served import serving, write_base
from tests.cloud.operator.cluster import wait

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))


@contextmanager
def served(*words: str) -> Iterator[tuple[forked.Forked, str]]:
    """Run `edgeloop base serve`; give the process and its address."""
    command = [EDGELOOP, "base", "serve", "--port", "0", *words]
    with forked.speaking(command) as (process, said):
        yield process, said.readline().split(" on ")[1].strip()


def test_files_are_written_beside_others_and_removed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    known = [write_base(tmp_path / f"v{n}", scale=n) for n in (1, 2)]
    for version in (1, 2):
        words = ["base", "serve-files", str(tmp_path / f"v{version}"), str(models)]
        assert main([*words, "--name", "faces", "--version", str(version)]) == 0
        assert known[version - 1] in capfd.readouterr().out
    told = json.loads((models / INDEX).read_text())
    assert told == {"bases": {"faces": {"1": known[0], "2": known[1]}}}
    assert main([*words, "--name", "faces", "--version", "1"]) == 2
    assert "is another base" in (said := capfd.readouterr().err)
    assert "write this one as version 3" in said
    assert main(["base", "remove-files", "faces", str(models)]) == 0
    assert "removed: version 1, version 2" in capfd.readouterr().out
    assert json.loads((models / INDEX).read_text()) == {"bases": {}}
    assert main(["base", "remove-files", "faces", str(models)]) == 0
    assert "removed: nothing" in capfd.readouterr().out


def test_what_cannot_be_written(tmp_path: Path) -> None:
    write_base(tmp_path / "a")
    for name, version in (("a/b", 1), ("..", 1), ("a", 0), ("a", 10**7)):
        with pytest.raises(ConfigError):
            repository.write(tmp_path / "a", tmp_path / "models", name, version)
    with pytest.raises(BaseError, match="holds no"):
        repository.write(tmp_path, tmp_path / "models", "a", 1)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("part", [GRAPH, MANIFEST])
def test_a_damaged_version_is_written_anew(tmp_path: Path, part: str) -> None:
    identity = write_base(tmp_path / "a")
    models = tmp_path / "models"
    repository.write(tmp_path / "a", models, "a", 1)
    (models / "a" / "1" / part).write_bytes(b"half")
    repository.write(tmp_path / "a", models, "a", 1)
    assert Base.read(models / "a" / "1").identity == identity


def test_nothing_but_bases_is_served(tmp_path: Path) -> None:
    write_base(tmp_path / "a")
    repository.write(tmp_path / "a", tmp_path / "models", "a", 1)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "models" / "other").write_text("s")
    with serving(tmp_path / "models") as root:
        for path in ("a/1/base.json", "healthz", "index.json"):
            assert httpx.get(f"{root}/{path}").status_code == 200
            assert not httpx.head(f"{root}/{path}").content
        for path in (
            "",
            "other",
            "../secret",
            "%2e%2e/secret",
            "a/1/../../../secret",
            "a/2/base.json",
        ):
            assert httpx.get(f"{root}/{path}").status_code == 404
        assert httpx.post(f"{root}/index.json").status_code == 501


def test_served_and_fetched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    identity = write_base(tmp_path / "a")
    with served(str(tmp_path / "a"), "--name", "faces") as (process, root):
        words = ["base", "fetch", f"{root}/faces?sha256={identity}"]
        assert main(words) == 0
        assert f"faces: version 1, identity {identity}" in capfd.readouterr().out
        assert Base.read(bases.folder_of("faces")).identity == identity
        assert main(words) == 2
        assert "is in the local store already" in capfd.readouterr().err
        assert main([*words, "--name", "other"]) == 0
        assert sorted(path.name for path in bases.store().iterdir()) == ["faces", "other"]
        assert main(["base", "fetch", f"{root}/faces?version=2", "--name", "b"]) == 2
        assert not (bases.store() / "b").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_second_version_and_one_that_cannot_be(tmp_path: Path) -> None:
    """What is wrong with one is told, and keeps nobody from the others."""
    models = tmp_path / "models"
    known = [write_base(tmp_path / f"v{n}", scale=n) for n in (1, 2)]
    words = ["--repository", str(models), "--name", "faces", "--add", f"1={tmp_path / 'v1'}"]
    with served(*words) as (_, root):
        assert _there(root, 1)
    more = ["--add", "2=nothing", "--add", f"3={tmp_path / 'v2'}"]
    with served(*words, *more) as (_, root):
        assert _there(root, 3)
        assert remote.listed(root)["faces"] == {1: known[0], 3: known[1]}
        told = httpx.get(f"{root}/index.json").json()["problems"]
        assert list(told["faces"]) == ["2"]
        assert "there is no base 'nothing'" in told["faces"]["2"]


def _there(root: str, version: int) -> bool:
    """Wait until a version of faces is served."""
    return bool(wait("it is served", lambda: version in remote.listed(root).get("faces", {})))


def test_a_computed_one_is_computed_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    words = ["base", "serve-files", "auto?shape=1x10x10", str(models), "--name", "digits"]
    assert main(words) == 0
    assert "draws 1000 images" in capfd.readouterr().err
    before = os.stat(models / "digits" / "1").st_ino
    assert main(words) == 0
    assert "draws" not in capfd.readouterr().err
    assert os.stat(models / "digits" / "1").st_ino == before
    other = ["base", "serve-files", "auto?shape=1x12x12", str(models), "--name", "digits"]
    assert main(other) == 2
    assert "give the other one another version" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve"], "has nothing to serve"),
        (["serve", "--repository", "m", "--add", "1=a"], "say of which base"),
        (["serve", "--repository", "m", "--name", "a", "--add", "a"], "is no VERSION=SOURCE"),
        (["serve", "--repository", "m", "--name", "a", "--add", "0=a"], "is not from 1"),
        (["serve", "x", "--name", "a", "--add", "1=a"], "goes without a base"),
        (["serve", "x", "--port", "1"], "there is no base 'x'"),
        (["serve-files", "x", "m"], "there is no base 'x'"),
        (["serve-files", "auto", "m", "--name", "a"], "write auto?shape="),
        (["serve-files", "auto?shape=1x8x8", "m"], "give a computed base one"),
        (["serve-files", "auto?shape=1x8x8&clases=3", "m", "--name", "a"], "asks for clases"),
        (["serve-files", "auto?shape=1x8x8&classes=1", "m", "--name", "a"], "no number of classes"),
        (["serve-files", "auto?shape=8x", "m", "--name", "a"], "is no shape"),
        (["serve-files", "auto?shape=1x8x8&generator=x", "m", "--name", "a"], "no generator 'x'"),
        (["fetch", "faces"], "is no reference"),
    ],
)
def test_what_cannot_be_served(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["base", *words]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert re.match("error: [^\n]*\n$", error), error
