"""Removes from an environment what no image of ours runs, and measures what an extra installs.

python tools/slim_site.py /opt/edgeloop        removes, and prints what is left
python tools/slim_site.py --extra cloud,otel   prints, of this Python's environment, what the
                                               extra's packages take, before and after
"""

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LEFT_OUT = [
    re.compile(pattern)
    for pattern in (
        r"(^|/)tests?/",  # of packages, which run them no more
        r"^torch/(include|share|bin|testing/_internal|utils/benchmark|utils/tensorboard)/",
        r"^torch/(lib/.*_test\.so|lib/.*\.a$)",
        r"^(torch|functorch)/.*\.(h|hpp|cuh|cmake|pyi)$",
        r"^functorch/",
        r"^onnx/(backend/test|reference|test)/",
        r"^sympy/(parsing/autolev/test-examples|integrals/rubi)/",
        r"\.(c|cpp|pyx|pxd)$",
    )
]
"""What is removed, by its path in site-packages."""

KEPT = re.compile(
    r"^torch/testing/_internal/(distributed|(__init__|common_dtype|logging_tensor)\.py)"
)
"""What torch itself imports of it."""


def is_left_out(path: str) -> bool:
    """Return whether a file of site-packages is removed."""
    return not KEPT.match(path) and any(each.search(path) for each in LEFT_OUT)


def slim(folder: Path) -> None:
    """Remove what no image runs from an environment."""
    for site in folder.glob("lib/python*/site-packages"):
        for path in sorted(site.rglob("*"), reverse=True):
            name = path.relative_to(site).as_posix()
            if path.is_file() and is_left_out(name):
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for name in ("pip", "setuptools", "wheel"):
            shutil.rmtree(site / name, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Return how many bytes the files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def closure(extras: set[str]) -> Iterator[Distribution]:
    """Yield the distributions that an extra of ours needs, as they are installed here."""
    from packaging.requirements import Requirement  # which an image's Python has not

    waiting = [(distribution("edgeloop"), frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        found, wanted = waiting.pop()
        if (found.name, wanted) in seen:
            continue
        new = not any(name == found.name for name, _ in seen)
        seen.add((found.name, wanted))
        if new and found.name != "edgeloop":
            yield found
        for line in found.requires or []:
            need = Requirement(line)
            if need.marker is None or any(
                need.marker.evaluate({"extra": each}) for each in (wanted or {""})
            ):
                try:
                    waiting.append((distribution(need.name), frozenset(need.extras)))
                except PackageNotFoundError:
                    print(f"{need.name} is not installed here", file=sys.stderr)  # noqa: T201


def measured(extras: set[str]) -> tuple[int, int]:
    """Return how many bytes an extra's packages take here, and how many when slim."""
    whole = slimmed = 0
    for found in closure(extras):
        for file in found.files or []:
            path = Path(str(found.locate_file(file)))
            if path.is_file():
                whole += path.stat().st_size
                slimmed += 0 if is_left_out(str(file)) else path.stat().st_size
    return whole, slimmed


def main(arguments: list[str]) -> None:
    """Slim a folder, or measure an extra."""
    if arguments[:1] == ["--extra"]:
        whole, slimmed = measured(set(arguments[1].split(",")))
        print(f"{arguments[1]}: {whole / 1e6:.0f} MB, {slimmed / 1e6:.0f} MB slim")  # noqa: T201
        return
    folder = Path(arguments[0])
    before = size_of(folder)
    slim(folder)
    print(f"{before / 1e6:.0f} MB, {size_of(folder) / 1e6:.0f} MB slim")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
