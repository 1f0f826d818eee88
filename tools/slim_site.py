"""Removes from an environment what no image of ours runs, and measures what is left.

python tools/slim_site.py /opt/edgeloop                removes, and prints what is left
python tools/slim_site.py --extra cloud,otel FOLDER    makes such site-packages in FOLDER, of what
    this Python has installed, and prints what the extra's packages take, before and after

Symbols are left out of shared libraries: a loader reads segments, and neither symbols for
debuggers nor the table of sections. Bytecode is left out, too: what an image imports as it starts
is compiled as it is built.
"""

import os
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LEFT_OUT = [
    re.compile(pattern)
    for pattern in (
        r"(^|/)tests?/",  # of packages, which run them no more
        r"^torch/(include|share|bin|testing/_internal|utils/benchmark|utils/tensorboard)/",
        r"^torch/lib/(.*_test|libaoti_custom_ops|libbackend_with_compiler)\.so$",
        r"^torch/lib/.*\.a$",
        r"^(torch|functorch)/.*\.(h|hpp|cuh|cmake|pyi)$",
        r"^torch/_inductor/(codegen|fx_passes|kernel)/",  # no image compiles
        r"^torch/_inductor/(ir|lowering|scheduler|select_algorithm)\.py$",
        r"^torchgen/packaged/",
        r"^functorch/",
        r"^onnx/(backend/test|test)/",
        r"^onnxruntime/(tools|transformers/models)/",
        r"^onnxruntime/capi/libonnxruntime\.so",  # for C: Python's own module has it all once more
        r"^onnx/reference/ops/",
        r"^networkx/",  # for graphs that are cut for compilers
        r"^pygments/lexers/(?!(__init__|_mapping|python|special)\.py)",  # a traceback is of Python
        r"^(PIL/_avif\.|pillow\.libs/libavif-)",
        r"^numpy/distutils/",
        r"^sqlalchemy/(testing|dialects/(mssql|mysql|oracle))/",
        r"^scipy/(cluster|datasets|io|odr)/",
        r"^sympy/(physics|stats|parsing/autolev/test-examples|integrals/rubi)/",
        r"\.(c|cc|cpp|h|hpp|pyi|pyx|pxd)$",
        r"\.dist-info/RECORD$",
    )
]
"""What is removed, by its path in site-packages."""

KEPT = re.compile(
    r"^torch/(bin/torch_shm_manager$"
    r"|testing/_internal/(distributed|(__init__|common_dtype|logging_tensor)\.py))"
)
"""What torch itself asks for as it is imported."""

ELF64 = b"\x7fELF\x02\x01"
HEADER, SEGMENT = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")


def is_left_out(path: str) -> bool:
    """Return whether a file of site-packages is removed."""
    removed = not KEPT.match(path) and any(each.search(path) for each in LEFT_OUT)
    return removed or "__pycache__" in path.split("/")


def loaded_bytes(path: Path) -> int:
    """Return how many bytes of a file a loader reads: all, unless it is a shared library."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(HEADER.size)
        if ".so" not in path.name or not first.startswith(ELF64) or len(first) < HEADER.size:
            return whole
        segments_at, size, count = HEADER.unpack(first)[5], *HEADER.unpack(first)[9:11]
        file.seek(segments_at)
        table = file.read(size * count)
    ends = (SEGMENT.unpack_from(table, at * size) for at in range(count))
    return int(max(segments_at + size * count, *(each[2] + each[5] for each in ends)))


def cut(path: Path) -> None:
    """Take a shared library's sections off its end, where debuggers look."""
    size = loaded_bytes(path)
    if size < path.stat().st_size:
        with path.open("r+b") as file:
            header = list(HEADER.unpack(file.read(HEADER.size)))
            header[6] = header[12] = header[13] = 0  # where the sections are, how many, their names
            file.seek(0)
            file.write(HEADER.pack(*header))
            file.truncate(size)


def slim(folder: Path) -> None:
    """Remove what no image runs from an environment."""
    for site in folder.glob("lib/python*/site-packages"):
        for path in sorted(site.rglob("*"), reverse=True):
            name = path.relative_to(site).as_posix()
            if path.is_file() and is_left_out(name):
                path.unlink()
            elif path.is_file():
                cut(path)
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
        if new and found.name not in ("pip", "setuptools", "wheel"):
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


def assemble(extras: set[str], site: Path) -> int:
    """Make an extra's site-packages of those that are installed here; return their size before.

    What stays as it is, is a link to the file here.
    """
    whole = 0
    for found in closure(extras):
        for file in found.files or []:
            path, name = Path(str(found.locate_file(file))), str(file)
            if name.startswith("..") or not path.is_file():
                continue
            whole += path.stat().st_size
            if not is_left_out(name):
                (site / name).parent.mkdir(parents=True, exist_ok=True)
                _put(path, site / name)
    return whole


def _put(path: Path, place: Path) -> None:
    if loaded_bytes(path) < path.stat().st_size:
        shutil.copy(path, place)
        cut(place)
        return
    try:
        os.link(path, place)
    except OSError:  # another file system
        shutil.copy(path, place)


def main(arguments: list[str]) -> None:
    """Slim a folder, or assemble one."""
    if arguments[0] == "--extra":
        site = Path(arguments[2])
        before, after = assemble(set(arguments[1].split(",")), site), size_of(site)
    else:
        folder = Path(arguments[0])
        before = size_of(folder)
        slim(folder)
        after = size_of(folder)
    print(f"{before / 1e6:.0f} MB, {after / 1e6:.0f} MB slim")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
