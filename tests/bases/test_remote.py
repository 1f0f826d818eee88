"""A base by reference from a server: fetched once, whole or not at all, and the one asked for."""

import http.server
import json
import threading
import time
from pathlib import Path

import pytest

from cloud.generator_service.bases import repository
from edgeloop import bases
from edgeloop.bases import manifest, remote
from edgeloop.bases.manifest import GRAPH, MANIFEST
from edgeloop.bases.reference import is_one, parse
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError, UnavailableError
from edgeloop.runtime.ports import free_port
from tests.bases.served import serving, write_base


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository with two versions of one base."""
    folder = tmp_path / "models"
    for version in (1, 2):
        write_base(tmp_path / f"v{version}", scale=version)
        repository.write(tmp_path / f"v{version}", folder, "faces", version)
    return folder


def identity(models: Path, version: int) -> str:
    return manifest.read(models / "faces" / str(version))[0].identity


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://h:1/faces", None),
        ("https://h/some/folder/faces?version=3", None),
        ("HTTP://h/faces?sha256=" + "0" * 64, None),
        ("http://h:1/", "has '' where a base's name should be"),
        ("http://h:x/faces", "is no reference"),
        ("http://:1/faces", "is no reference"),
        ("http://user:word@h/faces", "is no reference"),
        ("http://h/faces?version=0", "'0' where a version should be"),
        ("http://h/faces?version=", "'' where a version should be"),
        ("http://h/faces?sha256=abc", "64 hexadecimal digits"),
        ("http://h/faces?verison=1", "asks for verison"),
        ("http://h/faces?version", "is no reference"),
        ("http://h/faces#1", "is no reference"),
    ],
)
def test_what_is_a_reference(text: str, said: str | None) -> None:
    assert is_one(text)
    if said is None:
        assert parse(str(parse(text))) == parse(text)
        return
    with pytest.raises(ConfigError, match="write http://HOST:PORT/NAME") as caught:
        parse(text)
    assert said in caught.value.problem


@pytest.mark.parametrize("text", ["ftp://h/faces", "file://localhost/faces", "faces", ""])
def test_what_is_asked_for_over_http_only(text: str) -> None:
    with pytest.raises(ConfigError, match="write http://HOST:PORT/NAME"):
        parse(text)


def test_a_name_or_a_folder_is_none() -> None:
    assert not any(map(is_one, (None, "auto", "faces", "/bases/faces", "triton://h:1/faces")))


def test_fetched_by_version_or_the_newest(models: Path, tmp_path: Path) -> None:
    with serving(models) as root:
        for number, (query, version) in enumerate([("", 2), ("?version=1", 1), ("?version=2", 2)]):
            place = tmp_path / str(number)
            facts = remote.fetch(parse(f"{root}/faces{query}"), place)
            assert facts.identity == Base.read(place).identity == identity(models, version)
        assert remote.listed(root)["faces"] == {n: identity(models, n) for n in (1, 2)}


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("/hands", "has no 'hands'; it has faces: name one"),
        ("/faces?version=3", "has no version 3 of 'faces'; it has 1, 2: name one"),
        ("/faces?version=1&sha256=" + "0" * 64, "is another base"),
        ("/else/faces", "answers 404 for index.json"),
    ],
)
def test_a_reference_of_what_is_not_there(
    models: Path, tmp_path: Path, rest: str, said: str
) -> None:
    with serving(models) as root, pytest.raises(BaseError) as caught:
        remote.fetch(parse(root + rest), tmp_path / "a")
    assert said in str(caught.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("part", [GRAPH, MANIFEST])
def test_what_came_is_the_one_or_refused(models: Path, tmp_path: Path, part: str) -> None:
    """Another file in the place of the one that the index or the manifest names."""
    asked = f"/faces?version=1&sha256={identity(models, 1)}"
    other = (models / "faces" / "2" / part).read_bytes()
    (models / "faces" / "1" / part).write_bytes(other)
    with serving(models) as root, pytest.raises(BaseError, match=r"another (file|base)"):
        remote.fetch(parse(root + asked), tmp_path / "a")
    assert not list(tmp_path.glob("*a*"))


def test_a_server_that_is_something_else(tmp_path: Path) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"bases": {"faces": {"1": "no digest"}}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        with pytest.raises(BaseError, match="does not serve bases"):
            remote.found(parse(f"http://127.0.0.1:{found.server_port}/faces"), 0.0)
        found.shutdown()
        thread.join()


def test_a_server_that_is_away_is_asked_again(models: Path, tmp_path: Path) -> None:
    port = free_port()
    wanted = parse(f"http://127.0.0.1:{port}/faces?version=1")
    with pytest.raises(UnavailableError, match=r"does not answer .*; start it, or name a folder"):
        remote.fetch(wanted, tmp_path / "a", patience_seconds=0.0)
    ended = threading.Event()

    def late() -> None:
        time.sleep(0.5)
        with serving(models, port):
            ended.wait(30)

    thread = threading.Thread(target=late)
    thread.start()
    try:
        remote.fetch(wanted, tmp_path / "a", patience_seconds=30.0)
    finally:
        ended.set()
        thread.join()
    assert Base.read(tmp_path / "a").identity == identity(models, 1)


def test_one_that_is_held_is_asked_for_once(models: Path, tmp_path: Path) -> None:
    """The newest when the task began, whatever its server has later, or where it is."""
    folder = tmp_path / "task"
    with serving(models) as root:
        place = remote.held(f"{root}/faces", folder)
        write_base(tmp_path / "v3", scale=3)
        repository.write(tmp_path / "v3", models, "faces", 3)
        assert remote.held(f"{root}/faces", folder) == place
    assert remote.held("http://elsewhere:1/faces", folder, 0.0) == place
    assert Base.read(place).identity == identity(models, 2)


def test_by_reference_in_the_store(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    with serving(models) as root:
        first = bases.folder_of(f"{root}/faces?version=1")
        assert bases.folder_of(f"{root}/faces") != first
    pinned = f"{root}/faces?sha256={identity(models, 1)}"
    assert bases.folder_of(pinned) == first  # nobody need be asked
