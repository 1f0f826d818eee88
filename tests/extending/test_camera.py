"""The example of a camera reader, on made-up streams: file, fifo, folder, damage, a restart."""

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeloop import data
from edgeloop.errors import ConfigError, DataError

EXAMPLE = Path(__file__).parents[2] / "examples" / "camera"


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "camera_frames", raising=False)
    import camera_frames  # type: ignore[import-not-found,unused-ignore]  # not a package of ours

    return camera_frames


def frame(level: int, *, preview: bytes = b"", progressive: bool = False) -> bytes:
    """Return a JPEG of one grey, on which noise has each byte occur; a preview is in its EXIF."""
    noise = np.random.default_rng(level).integers(-9, 10, (40, 60, 3))
    buffer = io.BytesIO()
    picture = Image.fromarray((level + noise).clip(0, 255).astype(np.uint8))
    picture.save(buffer, "JPEG", quality=95, progressive=progressive)
    whole = buffer.getvalue()
    if not preview:
        return whole
    length = (len(preview) + 2).to_bytes(2, "big")
    return whole[:2] + b"\xff\xe5" + length + preview + whole[2:]


SMALL = frame(7)
FRAMES = [frame(30), frame(90, preview=SMALL), frame(150, progressive=True), frame(210)]


def written(folder: Path, **more: object) -> Path:
    facts = {"every": 1, "frames": 4, "seconds": 10.0, "size": 16, **more}
    path = folder / "gate.camera"
    lines = ['stream = "gate.mjpeg"', *(f"{k} = {v!r}" for k, v in facts.items())]
    path.write_text("\n".join(lines))
    return path


def levels(inputs: Any) -> list[int]:
    return [round(float(each.mean()) / 60 - 0.5) for each in inputs]


def test_a_file_of_frames_becomes_labelled_pictures(camera: Any, tmp_path: Path) -> None:
    (tmp_path / "gate.mjpeg").write_bytes(b"".join(FRAMES))
    (tmp_path / "gate.label").write_text("ok\n")
    path = written(tmp_path, frames=9)
    assert camera.SOURCE.matches(path)
    found = camera.SOURCE.read(path)
    assert (found.inputs.shape, found.inputs.dtype) == ((4, 3, 16, 16), np.uint8)
    assert found.class_names == ("ok",)
    assert levels(found.inputs) == [0, 1, 2, 3]
    kept = sorted((tmp_path / "gate.frames" / "ok").iterdir())
    assert [each.read_bytes() for each in kept] == FRAMES


@contextmanager
def showing(fifo: Path, shown: bytes) -> Iterator[None]:
    """Have a camera write frames into a fifo while a block runs, a few bytes at a time."""

    def send() -> None:
        with fifo.open("wb", buffering=0) as stream:
            for begin in range(0, len(shown), 777):
                stream.write(shown[begin : begin + 777])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_fifo_is_read_until_there_are_enough(camera: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate.mjpeg")
    (tmp_path / "gate.label").write_text("ok")
    with showing(tmp_path / "gate.mjpeg", b"".join(FRAMES)):
        found = camera.SOURCE.read(written(tmp_path))
    assert levels(found.inputs) == [0, 1, 2, 3]


def test_a_restart_begins_with_what_was_taken(camera: Any, tmp_path: Path) -> None:
    stream, label = tmp_path / "gate.mjpeg", tmp_path / "gate.label"
    stream.write_bytes(b"".join(FRAMES[:2]))
    label.write_text("ok")
    camera.SOURCE.read(written(tmp_path))
    (tmp_path / "gate.frames" / "ok" / "00000003.part").write_bytes(b"half")  # killed as it wrote
    stream.write_bytes(b"".join(FRAMES[2:]))
    label.write_text("dent")
    found = camera.SOURCE.read(written(tmp_path))
    assert levels(found.inputs) == [0, 1, 2, 3]
    assert [found.class_names[each] for each in found.labels] == ["ok", "ok", "dent", "dent"]
    stream.unlink()  # enough: it is not looked at
    assert len(camera.SOURCE.read(written(tmp_path)).labels) == 4


def test_a_folder_is_emptied_and_what_is_not_whole_waits(camera: Any, tmp_path: Path) -> None:
    folder = tmp_path / "gate.mjpeg"
    folder.mkdir()
    for number, each in enumerate(FRAMES):
        (folder / f"{number}.jpg").write_bytes(each)
        os.utime(folder / f"{number}.jpg", (number, number))
    (folder / "4.jpg").write_bytes(FRAMES[0][:-9])
    (tmp_path / "gate.label").write_text("ok")
    found = camera.SOURCE.read(written(tmp_path))
    assert levels(found.inputs) == [0, 1, 2, 3]
    assert [each.name for each in folder.iterdir()] == ["4.jpg"]


def test_one_of_several_is_taken_and_none_without_a_label(camera: Any, tmp_path: Path) -> None:
    (tmp_path / "gate.mjpeg").write_bytes(b"".join(FRAMES))
    for text in ("", "../else", ".hidden"):
        (tmp_path / "gate.label").write_text(text)
        with pytest.raises(DataError, match="no labelled picture came"):
            camera.SOURCE.read(written(tmp_path))
    (tmp_path / "gate.label").write_text("ok")
    assert levels(camera.SOURCE.read(written(tmp_path, every=2)).inputs) == [0, 2]


def test_frames_are_found_between_what_is_none(camera: Any) -> None:
    whole = b"".join(FRAMES)
    for cut in range(0, len(whole), 997):  # the rest becomes a frame with what comes
        first, rest = camera.frames(whole[:cut])
        second, left = camera.frames(rest + whole[cut:])
        assert first + second == FRAMES
        assert left == b""
    broken = b"noise\xff\xd8\xff\x00" + FRAMES[0] + b"--boundary\r\n" + FRAMES[1] + FRAMES[2][:50]
    found, rest = camera.frames(broken)
    assert (found, rest) == (FRAMES[:2], FRAMES[2][:50])
    for lost in (FRAMES[0][:60] + b"\0" * 60, FRAMES[0][:60] + b"\xff" * 60, FRAMES[0][:-99]):
        assert camera.frames(lost + FRAMES[1] + FRAMES[2]) == (FRAMES[1:3], b"")


def test_edgeloop_reads_it_by_its_import_path(camera: Any, tmp_path: Path) -> None:
    (tmp_path / "gate.mjpeg").write_bytes(b"".join(FRAMES))
    (tmp_path / "gate.label").write_text("ok")
    path = written(tmp_path)
    found = data.read(data.sources.admit(f"camera_frames:SOURCE:{path}"))
    assert found.class_names == ("ok",)


def test_what_is_wrong_is_said(camera: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="group video"):
        camera.SOURCE.read(written(tmp_path))
    os.mkfifo(tmp_path / "gate.mjpeg")
    with pytest.raises(DataError, match="no labelled picture came"):  # a camera that is silent
        camera.SOURCE.read(written(tmp_path, seconds=0.1))
    with pytest.raises(ConfigError, match="zoom: is unknown"):
        camera.SOURCE.read(written(tmp_path, zoom=1))
    with pytest.raises(ConfigError, match="every: is 0"):
        camera.SOURCE.read(written(tmp_path, every=0))
    (tmp_path / "gate.camera").write_text("every = 1")
    with pytest.raises(ConfigError, match="stream: is missing"):
        camera.SOURCE.read(tmp_path / "gate.camera")
