"""What a killed writer leaves is removed by the next one; what a living one has is not."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.generator_service import storing as generators_store
from cloud.generator_service.bases import storing as bases_store
from edgeloop import bases, generators
from edgeloop.errors import EdgeloopError
from edgeloop.runtime.new_folders import OLD, PREFIX, new_folder

PROGRAM = """
import sys, time
from pathlib import Path
from edgeloop.runtime.new_folders import new_folder
with new_folder(Path(sys.argv[1]), sys.argv[2]) as place:
    (place / "part").write_bytes(b"half")
    print(place, flush=True)
    time.sleep(600)
"""


@contextmanager
def writer(home: Path, prefix: str = PREFIX) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    home.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", PROGRAM, str(home), prefix]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.mark.parametrize("module", [bases_store, generators_store])
def test_the_next_build_removes_what_a_killed_one_left(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path))
    store = bases.store() if module is bases_store else generators.store()
    with writer(store) as (process, left), writer(store) as (_, living):
        process.kill()
        process.wait()
        assert (left / "part").exists()
        with module.new("mine"):  # type: ignore[attr-defined]  # a module
            assert not left.exists()
        assert (living / "part").exists()
    assert (store / "mine").is_dir()


@pytest.mark.parametrize("module", [bases_store, generators_store])
def test_what_cannot_take_its_place_leaves_the_old_one(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path))
    store = bases.store() if module is bases_store else generators.store()
    with module.new("mine") as folder:  # type: ignore[attr-defined]
        (folder / "of").write_text("the old one")
    again = module.new("mine", replace=True)  # type: ignore[attr-defined]
    with pytest.raises(EdgeloopError, match="is in the local store already"), again as folder:
        folder.rmdir()
    assert (store / "mine" / "of").read_text() == "the old one"
    assert [each.name for each in store.iterdir()] == ["mine"]


def test_only_folders_of_the_same_prefix_and_no_files(tmp_path: Path) -> None:
    (tmp_path / ".other-1").mkdir()
    (tmp_path / ".new-file").write_bytes(b"")
    with new_folder(tmp_path) as place:
        assert place.is_dir()
    assert not place.exists()
    assert {each.name for each in tmp_path.iterdir()} == {".other-1", ".new-file"}


@pytest.mark.parametrize("placed", [True, False])
def test_who_was_killed_while_replacing_loses_nothing(tmp_path: Path, placed: bool) -> None:
    """Between the old one's leaving and the new one's coming there is neither."""
    for name in (OLD, "mine"):
        (tmp_path / ".new-left" / name).mkdir(parents=True)
    if placed:
        (tmp_path / ".new-left" / "mine").rename(tmp_path / "mine")
    with new_folder(tmp_path):
        assert (tmp_path / "mine").is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_a_new_folder_may_hold_another(tmp_path: Path) -> None:
    with new_folder(tmp_path) as outer, new_folder(outer, ".fetched-") as inner:
        assert inner.parent == outer
        assert inner.is_dir()
    assert list(tmp_path.iterdir()) == []
