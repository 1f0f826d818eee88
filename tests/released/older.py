"""The version before, in an environment of its own, from this repository's history."""

import io
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMIT = "e5a5975"
"""Of 0.1.1, before its modules moved into rooms."""


@dataclass(frozen=True)
class Older:
    """An installed version.

    Attributes:
        version: its number.
        command: what starts its `edgeloop`.
    """

    version: str
    command: tuple[str, ...]


def install(folder: Path, commit: str = COMMIT) -> Older:
    """Install what the wheel of a commit holds into a new environment beside today's dependencies.

    The project is Python only: its wheel is its packages and what is known of them, and to install
    one is to unpack it. So neither a build backend nor an index is asked for.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    site = Path(told.stdout.strip())
    installed = [each for each in sys.path if Path(each).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(installed) + "\n")
    project = tomllib.loads(_file(commit, "pyproject.toml").decode())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, *packages))) as archive:
        archive.extractall(site, filter="data")
    about = project["project"]
    _describe(site, about)
    module, _, function = about["scripts"]["edgeloop"].partition(":")
    start = f"from {module} import {function}; {function}()"
    return Older(about["version"], (str(python), "-P", "-c", start))


def _describe(site: Path, about: dict[str, object]) -> None:
    """Write what a wheel tells of itself: its name, its version and its entry points."""
    folder = site / f"edgeloop-{about['version']}.dist-info"
    folder.mkdir()
    lines = ["Metadata-Version: 2.3", "Name: edgeloop", f"Version: {about['version']}", ""]
    (folder / "METADATA").write_text("\n".join(lines))
    groups = about["entry-points"]
    assert isinstance(groups, dict)
    texts = (
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in entries.items()), ""])
        for group, entries in groups.items()
    )
    (folder / "entry_points.txt").write_text("\n".join(texts))


def _file(commit: str, path: str) -> bytes:
    return _git("show", f"{commit}:{path}")


def _git(*words: str) -> bytes:
    program = shutil.which("git")
    if program is None:
        pytest.skip("the version before is in the repository's history, and git is not installed")
    done = subprocess.run([program, "-C", ROOT, *words], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the version before ({COMMIT}) is not in this clone's history")
    return done.stdout
