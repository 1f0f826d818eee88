"""Takes labelled pictures from a camera's stream of JPEG frames, or from a folder that it fills.

A TOML file `NAME.camera` says where the frames are, and which of them are taken:

    stream = "gate.mjpeg"      # a fifo, a file or a device of JPEG after JPEG; or a folder of .jpg
    label = "gate.label"       # a text file: what the camera shows now; empty: nothing
    every = 10                 # take one frame out of this many
    frames = 200               # stop at this many; earlier ones count
    seconds = 30               # or after this many seconds without a frame
    size = 96                  # pixels of a side, of the pictures for training

Taken frames are stored as they came, next to that file in `NAME.frames/LABEL/`, so that a restart
begins with them. Frames of a folder are moved there. Incomplete pictures are left out.
"""

import os
import select
import time
import tomllib
from pathlib import Path

import numpy as np

from edgeloop.data import Pool, Source
from edgeloop.errors import ConfigError, DataError
from edgeloop.runtime import pictures

DEFAULTS = {"every": 10, "frames": 200, "seconds": 30.0, "size": 96}
PART = 65536  # bytes that are read at once
LARGEST = 2**25  # bytes of a frame
WAIT_SECONDS = 0.05  # between looks where a system cannot say that there is something new

START, END, SCAN, FIRST = 0xD8, 0xD9, 0xDA, 0xC0
INSIDE = {0x00, *range(0xD0, 0xD8)}  # what follows 0xFF within a picture's compressed values


def matches(path: Path) -> bool:
    """Return whether a path is a file that names a stream."""
    return path.suffix == ".camera" and path.is_file()


def read(path: Path) -> Pool:
    """Return pictures (N, 3, size, size), uint8: of before, and of what the camera shows now.

    Raises:
        ConfigError: a key is missing, unknown or wrong.
        DataError: the stream cannot be opened, or there is no picture yet.
    """
    asked = settings(path)
    kept = path.with_suffix(".frames")
    missing = asked["frames"] - len(taken(kept))
    if missing > 0:
        take(asked, kept, missing, path)
    images, labels = [], []
    for photo in taken(kept):
        if (image := decoded(photo.read_bytes(), asked["size"])) is not None:
            images.append(image)
            labels.append(photo.parent.name)
    if not images:
        remedy = f"see that it sends JPEG, and that {asked['label']} says what it shows"
        raise DataError(str(path), "no labelled picture came", remedy)
    names = tuple(sorted(set(labels)))
    labels_N = np.array([names.index(each) for each in labels], np.int64)
    return Pool(np.stack(images), labels_N, names)


def settings(path: Path) -> dict:
    """Return what a file says, with what it leaves out; paths are relative to it."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "write TOML") from error
    if "stream" not in given:
        raise ConfigError(f"{path}: stream", "is missing", "add it: see examples/camera")
    known = {"stream", "label", *DEFAULTS}
    for key in sorted(given.keys() - known):
        raise ConfigError(f"{path}: {key}", "is unknown", f"give {', '.join(sorted(known))}")
    found = {"label": path.with_suffix(".label").name, **DEFAULTS, **given}
    for key, default in DEFAULTS.items():
        if type(found[key]) not in (int, type(default)) or found[key] <= 0:
            raise ConfigError(f"{path}: {key}", f"is {found[key]!r}", "give a number above 0")
    for key in ("stream", "label"):
        found[key] = path.parent / str(found[key])
    return found


def taken(kept: Path) -> list[Path]:
    """Return the pictures of before, in the order in which they were taken."""
    return sorted(kept.glob("*/*.jpg"), key=lambda each: each.name)


def take(asked: dict, kept: Path, missing: int, path: Path) -> None:
    """Keep frames of the stream until there are enough, or it is silent."""
    last = max((int(each.stem) for each in taken(kept) if each.stem.isdecimal()), default=0)
    from_camera = of_folder if asked["stream"].is_dir() else of_stream
    try:
        for number, frame in enumerate(from_camera(asked["stream"], asked["seconds"])):
            if number % asked["every"] or not (name := label(asked["label"])):
                continue
            if decoded(frame, asked["size"]) is None:
                continue
            last, missing = last + 1, missing - 1
            folder = kept / name
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{last:08}.part"
            part.write_bytes(frame)
            part.rename(part.with_suffix(".jpg"))  # whole, or not there
            if not missing:
                return
    except OSError as error:
        remedy = "plug the camera in, and let this user open it (group video)"
        raise DataError(f"{path}: stream", f"cannot be read ({error})", remedy) from error


def label(path: Path) -> str:
    """Return what stands before the camera now; empty for nothing."""
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
    return "" if name.startswith(".") or "/" in name or "\0" in name else name[:100]


def decoded(frame: bytes, size: int) -> np.ndarray | None:
    """Return a frame as edgeloop reads any picture; None for what is none."""
    try:
        return pictures.decode(frame, "frame", channels=3, size=(size, size), kinds=("JPEG", "PNG"))
    except DataError:
        return None


def of_folder(folder: Path, seconds: float):
    """Yield the pictures of a folder, the oldest first, and remove them: until none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = sorted(folder.glob("*.jpg"), key=lambda each: (each.stat().st_mtime, each.name))
        for each in found:
            frame = each.read_bytes()
            if not frame.endswith(b"\xff\xd9"):  # it is being written, or damaged
                continue
            each.unlink()
            end = time.monotonic() + seconds
            yield frame
        time.sleep(WAIT_SECONDS)


def of_stream(stream: Path, seconds: float):
    """Yield the frames of a stream: until it ends, or is silent."""
    is_file = stream.is_file()
    descriptor = os.open(stream, os.O_RDONLY | os.O_NONBLOCK)
    try:
        rest, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not is_file and not select.select([descriptor], [], [], left)[0]:
                return
            part = os.read(descriptor, PART)
            if not part and is_file:
                return
            if not part:  # nobody writes to the fifo yet, or any more
                time.sleep(WAIT_SECONDS)
                continue
            whole, rest = frames(rest + part)
            end = time.monotonic() + seconds
            yield from whole
    finally:
        os.close(descriptor)


def frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut bytes into whole JPEG pictures; return them, and the rest, which may become one."""
    found = []
    while (begin := data.find(b"\xff\xd8\xff")) >= 0:
        data = data[begin:]
        end = end_of(data)
        if end is None:
            return found, data if len(data) <= LARGEST else b""
        if end:
            found.append(data[:end])
        data = data[end or 2 :]  # what is none is skipped up to the next one
    return found, data[-2:]


def end_of(data: bytes) -> int | None:
    """Return where the picture ends that data begin with; None if not yet, 0 if it is none.

    Its segments say how long they are, so that the end of a preview within one is not its own.
    """
    place = 2
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker < FIRST or marker == START:
            return 0
        if marker == END:
            return place + 2
        if marker == 0xFF:  # fills
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == SCAN:
            while 0 <= (place := data.find(b"\xff", place)) < len(data) - 1:
                if data[place + 1] not in INSIDE:
                    break
                place += 2
            else:
                return None
    return place + 2 if data[place : place + 2] == b"\xff\xd9" else None


SOURCE = Source("camera", matches, read)
