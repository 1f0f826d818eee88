"""What an installation takes on a disk: a fresh virtual environment for each extra.

python -m benchmarks.install [EXTRA ...]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

EXTRAS = ("edge-infer", "edge", "cloud", "operator")
ROOT = Path(__file__).parents[1]


def installed(extra: str, folder: Path) -> tuple[int, str]:
    """Install the project with an extra into a new environment.

    Args:
        extra: of pyproject.toml.
        folder: for the environment; nothing is there yet.

    Returns:
        the bytes on the disk, and the version of torch, if there is one.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
    python = folder / "bin" / "python"
    wanted = [f"{ROOT}[{extra}]", "-c", str(ROOT / "constraints.txt")]
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *wanted], check=True, stderr=subprocess.DEVNULL)  # noqa: S603
    found = folder.glob("lib/*/site-packages/torch-*.dist-info")
    version = "".join(each.name.removeprefix("torch-").removesuffix(".dist-info") for each in found)
    return size(folder), version


def size(folder: Path) -> int:
    """Return what a folder's files take on the disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def main() -> None:
    """Print a row an extra."""
    print("| extra | MB on the disk | torch |\n| --- | --- | --- |")
    for extra in sys.argv[1:] or EXTRAS:
        with tempfile.TemporaryDirectory() as place:
            taken, torch = installed(extra, Path(place) / "environment")
        print(f"| `{extra}` | {taken / 1e6:.0f} | {torch or 'none'} |", flush=True)


if __name__ == "__main__":
    main()
