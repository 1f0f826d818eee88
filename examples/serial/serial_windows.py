"""Reads windows of a sensor that writes lines to a serial port: `still,0.01,-0.98,0.12`.

A file `NAME.serial`, TOML, says which port, and how its lines are cut:

    port = "/dev/ttyUSB0"      # or whatever pyserial opens, such as socket://host:port
    baud = 115200
    columns = 3                # numbers of a line, behind its label
    steps = 16                 # lines of a window
    windows = 40               # enough of them; those of before count
    seconds = 30               # or as long as the port is silent
    scale = 1.0                # what each number is divided by

What was read is kept beside it, in `NAME.recorded.csv`, so that a restart begins with it. A line
that is none (a sensor that was plugged in amid one sends half of it) is left out.
"""

import csv
import tomllib
from itertools import groupby
from pathlib import Path

import numpy as np
import serial

from edgeloop.data import Pool, Source
from edgeloop.errors import ConfigError, DataError

DEFAULTS = {"baud": 115200, "steps": 16, "windows": 40, "seconds": 30.0, "scale": 1.0}
MOST_BYTES = 1000  # of a line


def matches(path: Path) -> bool:
    """Return whether a path is a file that names a port."""
    return path.suffix == ".serial" and path.is_file()


def read(path: Path) -> Pool:
    """Return windows (N, columns, 1, steps), float32: of before, and of what the port says now.

    Raises:
        ConfigError: a key is missing or unknown.
        DataError: the port cannot be opened, or there is no window yet.
    """
    asked = settings(path)
    kept = path.with_suffix(".recorded.csv")
    rows = recorded(kept, asked["columns"])
    with kept.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for row in heard(asked, len(cut(rows, asked)), path):
            writer.writerow(row)
            rows.append(row)
    windows = cut(rows, asked)
    if not windows:
        remedy = f"see that it sends lines such as {example(asked['columns'])}"
        raise DataError(str(path), f"no window of {asked['steps']} lines came", remedy)
    names = tuple(sorted({label for label, _ in windows}))
    labels_N = np.array([names.index(label) for label, _ in windows], np.int64)
    inputs = np.stack([values_SC.T[:, np.newaxis] for _, values_SC in windows])
    return Pool((inputs / asked["scale"]).astype(np.float32), labels_N, names)


def settings(path: Path) -> dict:
    """Return what a file says, with what it leaves out."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "write TOML") from error
    known = {"port", "columns", *DEFAULTS}
    for key in sorted({"port", "columns"} - given.keys()):
        raise ConfigError(f"{path}: {key}", "is missing", "add it: see examples/serial")
    for key in sorted(given.keys() - known):
        raise ConfigError(f"{path}: {key}", "is unknown", f"give {', '.join(sorted(known))}")
    return {**DEFAULTS, **given}


def heard(asked: dict, windows: int, path: Path):
    """Yield the lines that the port says, as rows: until there are enough windows, or silence."""
    missing = (asked["windows"] - windows) * asked["steps"]
    try:
        with serial.serial_for_url(asked["port"], asked["baud"], timeout=asked["seconds"]) as port:
            while missing > 0 and (line := port.read_until(b"\n", MOST_BYTES)).endswith(b"\n"):
                if (row := parsed(line, asked["columns"])) is not None:
                    missing -= 1
                    yield row
    except serial.SerialException as error:
        remedy = "plug it in, and let this user open it (group dialout)"
        raise DataError(f"{path}: port", f"cannot be read ({error})", remedy) from error


def parsed(line: bytes, columns: int) -> list[str] | None:
    """Return a line as label and numbers; None for one that is none."""
    row = line.decode("utf-8", "replace").strip().split(",")
    try:
        numbers = [float(each) for each in row[1:]]
    except ValueError:
        return None
    return row if row[0] and len(numbers) == columns and np.isfinite(numbers).all() else None


def recorded(path: Path, columns: int) -> list[list[str]]:
    """Return what was heard before."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [row for line in lines if (row := parsed(line, columns)) is not None]


def cut(rows: list[list[str]], asked: dict) -> list[tuple[str, np.ndarray]]:
    """Return windows of lines that follow one another with one label."""
    found = []
    for label, run in groupby(rows, key=lambda row: row[0]):
        values_TC = np.array([row[1:] for row in run], np.float32)
        for begin in range(0, len(values_TC) - asked["steps"] + 1, asked["steps"]):
            found.append((label, values_TC[begin : begin + asked["steps"]]))
    return found


def example(columns: int) -> str:
    """Return a line."""
    return ",".join(["still", *["0.1"] * columns])


SOURCE = Source("serial port", matches, read)
