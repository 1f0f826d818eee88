"""Wheels: fetched by pip under the user's own settings, checked, read without being installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

from edgeloop.errors import EdgeloopError, GeneratorError, UnavailableError
from edgeloop.generators.manifest import digest

LONGEST_SECONDS = 900.0
"""That pip may take for one wheel."""


def download(name: str, version: str, folder: Path) -> Path:
    """Have pip put a wheel, and nothing that it needs, into an empty folder.

    Raises:
        GeneratorError: if pip is not there, or does not find it; with pip's own words.
    """
    wanted = f"{name}=={version}"
    flags = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder), wanted]
    try:
        done = subprocess.run(  # noqa: S603  # the catalogue's names, and no shell
            command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        how = f"took longer than {LONGEST_SECONDS:.0f} s"
        raise _failed(wanted, how, UnavailableError) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise _failed(wanted, f"failed ({_last_line(done.stderr)})")
    return wheels[0]


def check(wheel: Path, sha256: str) -> None:
    """Refuse another file than the one that the catalogue names.

    Raises:
        GeneratorError: naming the SHA-256 expected and the one got.
    """
    try:
        got = digest(wheel)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise GeneratorError(str(wheel), problem, "name the wheel's file") from error
    if got != sha256:
        problem = f"has another SHA-256 than the catalogue names: expected {sha256}, got {got}"
        remedy = "nothing was kept; find out who changed it before you use it"
        raise GeneratorError(wheel.name, problem, remedy)


def read_member(wheel: Path, member: str) -> bytes:
    """Return the bytes of a file within a wheel.

    Raises:
        GeneratorError: if this is no wheel, or holds no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except KeyError as error:
        raise GeneratorError(wheel.name, f"holds no {member}", "name another wheel") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise GeneratorError(wheel.name, f"is no wheel ({error})", "fetch it again") from error


def _failed(wanted: str, how: str, kind: type[EdgeloopError] = GeneratorError) -> EdgeloopError:
    remedy = "check the network and pip's settings, or fetch the wheel elsewhere and use --wheel"
    return kind(wanted, f"pip download {how}", remedy)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
