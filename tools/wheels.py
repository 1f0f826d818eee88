"""Tells what the images need that has no wheel for a processor: `python tools/wheels.py aarch64`.

It asks pip, which asks its index; nothing is downloaded but metadata. Packages are those that the
images' extras need in this environment, with markers read as the other processor would.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FRESH = {"setuptools"}
"""A new virtual environment of Python 3.11 has it."""
GLIBC = range(36, 16, -1)
"""Minor versions that the images' base, Debian 12, has, the newest first."""


def extras_of_images() -> dict[str, frozenset[str]]:
    """Return the extras that each image installs, by the Dockerfile's target."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.split(r"^FROM \S+ AS (\S+)-build$", text, flags=re.MULTILINE)[1:]
    found: dict[str, frozenset[str]] = {}
    for target, stage in zip(stages[::2], stages[1::2], strict=True):
        (extras,) = re.findall(r'"\.\[([\w,]+)\]"', stage)
        found[target] = frozenset(extras.split(","))
    return found


def needed(extras: Iterable[str], machine: str) -> set[str]:
    """Return the packages that some extras need on a processor, by their canonical names."""
    found: set[tuple[str, str]] = set()
    _follow("edgeloop", frozenset(extras), machine, found)
    return {name for name, _ in found} - {"edgeloop"}


def _follow(name: str, extras: frozenset[str], machine: str, found: set[tuple[str, str]]) -> None:
    for extra in ("", *extras):
        if (name, extra) in found:
            continue
        found.add((name, extra))
        here = {"extra": extra, "platform_machine": machine}
        for each in _required(name, extra):
            if each.marker is None or each.marker.evaluate(here):
                _follow(canonicalize_name(each.name), frozenset(each.extras), machine, found)


def _required(name: str, extra: str) -> list[Requirement]:
    """Return what a package requires; ours as its file says, others as they are installed here."""
    if name == "edgeloop":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        of_extra = project["optional-dependencies"][extra] if extra else project["dependencies"]
        return [Requirement(each) for each in of_extra]
    try:
        return [Requirement(each) for each in distribution(name).requires or ()]
    except PackageNotFoundError:  # not needed here, as CUDA is not by a torch without it
        return []


def locked() -> dict[str, str]:
    """Return the locked versions by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def found_by_pip(requirements: Iterable[str], machine: str) -> tuple[bool, str]:
    """Return whether pip finds wheels for a processor, and what it says."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    platforms.append(f"manylinux2014_{machine}")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - pip, with names from our own files
            [
                *(sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps"),
                *("--quiet", "--ignore-installed", "--only-binary=:all:", "--target", folder),
                *("--python-version", "3.11", "--implementation", "cp"),
                *("--abi", "cp311", "--abi", "abi3", "--abi", "none"),
                *(word for each in platforms for word in ("--platform", each)),
                *requirements,
            ],
            capture_output=True,
            text=True,
        )
    return done.returncode == 0, done.stderr


def main(machine: str) -> int:
    """Write what is missing for a processor; return 1 if something is."""
    versions, missing = locked(), 0
    wanted = {image: needed(extras, machine) for image, extras in extras_of_images().items()}
    for name in sorted(set().union(*wanted.values()) - FRESH):
        if name not in versions:
            sys.stdout.write(f"{name}: is not locked\n")
            missing += 1
            continue
        requirement = f"{name}=={versions[name]}"
        good, said = found_by_pip([requirement], machine)
        if not good:
            missing += 1
            where = ", ".join(image for image, names in wanted.items() if name in names)
            last = (said.strip().splitlines() or [""])[-1]
            sys.stdout.write(f"{requirement} ({where}): {last}\n")
    counts = ", ".join(f"{image} {len(names)}" for image, names in wanted.items())
    sys.stdout.write(f"{machine}: packages of {counts}; {missing} without a wheel\n")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
