"""What an installation takes on a disk: a fresh virtual environment for each extra.

python -m benchmarks.install [--store] [EXTRA ...]

Twice: as `python -m venv` and `pip install` do it, and lean: in an environment without pip, by
`pip --python ENVIRONMENT install --no-compile`, which leaves it to Python to compile what is used.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

EXTRAS = ("edge-infer", "edge-lite", "edge", "cloud", "operator")
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "install.md"


def installed(extra: str, folder: Path, *, lean: bool) -> tuple[int, str]:
    """Install the project with an extra into a new environment.

    Args:
        extra: of pyproject.toml.
        folder: for the environment; nothing is there yet.
        lean: without pip in it, and without bytecode.

    Returns:
        the bytes on the disk, and the version of torch, if there is one.
    """
    made = [sys.executable, "-m", "venv", *(["--without-pip"] if lean else []), str(folder)]
    subprocess.run(made, check=True)  # noqa: S603
    wanted = [f"{ROOT}[{extra}]", "-c", str(ROOT / "constraints.txt")]
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python] if lean else [python, "-m", "pip"]
    words = ["--quiet", "--disable-pip-version-check", "install"]
    words += ["--no-compile"] if lean else []
    subprocess.run([*pip, *words, *wanted], check=True, stderr=subprocess.DEVNULL)  # noqa: S603
    found = folder.glob("lib/*/site-packages/torch-*.dist-info")
    version = "".join(each.name.removeprefix("torch-").removesuffix(".dist-info") for each in found)
    return size(folder), version


def size(folder: Path) -> int:
    """Return what a folder's files take on the disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def row(extra: str) -> str:
    """Measure an extra, and return its row."""
    taken, torch = {}, ""
    for lean in (False, True):
        with tempfile.TemporaryDirectory() as place:
            taken[lean], torch = installed(extra, Path(place) / "environment", lean=lean)
    megabytes = f"{taken[False] / 1e6:.0f} | {taken[True] / 1e6:.0f}"
    return f"| `{extra}` | {megabytes} | {torch or 'none'} |"


def main() -> None:
    """Print a row an extra."""
    parser = argparse.ArgumentParser(description="Measures what extras take on a disk.")
    parser.add_argument("extras", nargs="*", default=EXTRAS)
    parser.add_argument("--store", action="store_true", help=f"write {RESULTS.name}, too")
    asked = parser.parse_args()
    lines = ["| extra | MB on the disk | lean | torch |", "| --- | --- | --- | --- |"]
    print(*lines, sep="\n")
    for extra in asked.extras:
        lines.append(row(extra))
        print(lines[-1], flush=True)
    if asked.store:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        text = (
            f"# What extras take on a disk\n\n`python -m benchmarks.install --store`, {machine}.\n"
        )
        RESULTS.write_text("\n".join([text, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
