"""What every measurement needs: its data, the machine it ran on, and files for its results."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeloop.cli import console
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.ports import listens

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
POLL_SECONDS = 0.05


def run(function: Callable[..., None], name: str) -> int:
    """Run a benchmark as a command line; an error ends with its exit code, Ctrl-C with 130."""
    try:
        return console.run(function, name, sys.argv[1:])
    except EdgeloopError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def har(data: str | None) -> str:
    """Return where the HAR data is.

    Args:
        data: as the user said; None looks in $EDGELOOP_DATA, then beside this repository.

    Raises:
        ConfigError: if nobody said, and it is not there.
    """
    return str(_there(folder() / "har")) if data is None else data


def data() -> Path:
    """Return the folder of all data: $EDGELOOP_DATA, or beside this repository.

    Raises:
        ConfigError: if it is not there.
    """
    return _there(folder())


def folder() -> Path:
    """Return where the data folder is if it is there at all; see `data`."""
    return Path(os.environ.get("EDGELOOP_DATA", ROOT.parent / "shared" / "data"))


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(
            "data", f"there is no folder {folder}", "give --data PATH, or set EDGELOOP_DATA"
        )
    return folder


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the numbers."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads_per_process": 1,
        "python": platform.python_version(),
        **{name: version(name) for name in ("edgeloop", "torch", "numpy")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def write(name: str, content: Mapping[str, Any], text: str) -> None:
    """Write benchmarks/results/NAME.json and NAME.md, and say so."""
    store(name, content, text)
    console.say(f"written: {RESULTS / name}.json and .md")


def store(name: str, content: Mapping[str, Any], text: str) -> None:
    """Write benchmarks/results/NAME.json and NAME.md."""
    RESULTS.mkdir(exist_ok=True)
    atomic_files.write(RESULTS / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
    atomic_files.write(RESULTS / f"{name}.md", text.encode())


def embed(document: Path, name: str, text: str) -> None:
    """Put a text between a document's lines `<!-- NAME -->` and `<!-- /NAME -->`."""
    content = document.read_text(encoding="utf-8")
    before, start, rest = content.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->\n")
    if not (start and end):
        raise ConfigError(str(document), f"has no place for {name}", f"add <!-- {name} --> lines")
    atomic_files.write(document, f"{before}{start}\n{text}\n{end}{after}".encode())


def until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return as soon as a process's port can be dialled.

    Raises:
        RuntimeError: if the process ends before.
    """
    while not listens(port):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        time.sleep(POLL_SECONDS)
