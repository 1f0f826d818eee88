"""Removes from an environment what no image of ours runs, and measures what is left.

python tools/slim_site.py /opt/edgeloop                removes, and prints what is left
python tools/slim_site.py --compiled /opt/edgeloop     then also the sources of what is compiled
python tools/slim_site.py --extra cloud,otel FOLDER    makes such site-packages in FOLDER, of what
    this Python has installed, and prints what the extra's packages take, before and after

Symbols are left out of shared libraries: a loader reads segments, and neither symbols for
debuggers nor the table of sections. Bytecode is left out, too: what an image imports as it starts
is compiled as it is built, and of that the sources of other people's modules are left out.
"""

import os
import re
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LEFT_OUT = [
    re.compile(pattern)
    for pattern in (
        r"(^|/)tests?/",  # of packages, which run them no more
        r"^torch/(include|share|bin|testing/_internal|utils/benchmark|utils/tensorboard)/",
        r"^torch/lib/(.*_test|libaoti_custom_ops|libbackend_with_compiler)\.so$",
        r"^(torch|functorch)/.*\.(h|hpp|cuh|cmake|pyi)$",
        # No image compiles: torch imports the compiler's outer parts, and never what they lead to.
        r"^torch/_inductor/(autoheuristic|codegen|fx_passes|kernel|template_heuristics)/",
        r"^torch/_inductor/(codecache|compile_fx|comms|cudagraph_trees|graph|ir|lowering)\.py$",
        r"^torch/_inductor/(pattern_matcher|scheduler|select_algorithm)\.py$",
        r"^torch/_inductor/runtime/triton_heuristics\.py$",
        r"^torch/(_dynamo/repro|_export/(db|passes|serde)|_vendor/quack)/",
        # Nor is a model sharded, pruned, or made of whole numbers by torch.
        r"^torch/ao/(ns|pruning|quantization/(backend_config|fx))/",
        r"^torch/distributed/(_tools|checkpoint|elastic|flight_recorder|optim|pipelining)/",
        r"^torch/distributed/(algorithms/ddp_comm_hooks|debug|tensor/experimental)/",
        r"^torch/(_numpy/testing|_subclasses/complex_tensor|export/pt2_archive|onnx/_internal/fx)/",
        r"^torch/(_inductor/(compile_worker|runtime/caching)|fx/experimental/migrate_gradual_types)/",
        r"^torch/(backends/_nnapi|utils/(hipify|model_dump))/",
        r"^torch/(sparse/_triton_ops(_meta)?|utils/cpp_extension)\.py$",
        r"^torchgen/(api|dest|selective_build|static_runtime)/",
        r"^torchgen/(packaged/|gen(_[a-z_]+)?\.py$)",
        r"^functorch/",
        r"^onnx/(backend/test|test)/",
        r"^onnxruntime/(tools|transformers/models)/",
        r"^onnxruntime/capi/libonnxruntime\.so",  # for C: Python's own module has it all once more
        r"^onnx/reference/ops/",
        r"^(filelock|fsspec|networkx)/",  # of torch, for compilers and for files of others
        r"^filelock-[^/]+\.dist-info/sboms/",
        r"^google/(api|type)/",
        r"^pygments/lexers/(?!(__init__|_mapping|python|special)\.py)",  # a traceback is of Python
        r"^PIL/_(avif|imagingcms|imagingft)\.",  # nor fonts, nor colours of printers
        r"^pillow\.libs/lib(avif|brotli|freetype|harfbuzz|lcms2|png16)",
        r"^numpy/(distutils|f2py)/",
        r"^numpy/_core/_(simd|[a-z_]+_tests)\.",
        r"^pydantic/v1/",
        r"^(alembic|sqlalchemy)/testing/",
        r"^sqlalchemy/(dialects/(mssql|mysql|oracle)|ext/asyncio|orm)/",  # we write SQL, no objects
        r"^scipy(\.libs)?/",
        r"^sympy/(categories|codegen|combinatorics|crypto|diffgeom|holonomic|liealgebras|physics)/",
        r"^sympy/(stats|testing|vector|parsing/(autolev|c|latex)|integrals/rubi)/",
        r"^sympy/(polys/benchmarks|utilities/mathml/data)/",
        r"\.(a|c|cc|cpp|h|hpp|pyi|pyx|pxd)$",
        r"\.dist-info/RECORD$",
    )
]
"""What is removed, by its path in site-packages."""

KEPT = re.compile(
    r"^torch/(bin/torch_shm_manager$"
    r"|testing/_internal/(distributed/(__init__|fake_pg)|__init__|common_dtype|logging_tensor)\.py)"
    r"|^scipy/((__config__|__init__|_distributor_init|version)\.py$|_cyutility\.)"
    r"|^scipy/(_lib/(__init__|_ccallback|_pep440|_testutils)\.py|_lib/_ccallback_c\.)"
    r"|^scipy/special/(__init__\.py|_special_ufuncs\.)"
)
"""What torch itself asks for as it is imported; and of scipy two functions, which count what a
device has spent."""

WRITTEN = {"scipy/special/__init__.py": "from ._special_ufuncs import binom, log_ndtr\n"}
"""Files that stand for others: scipy's special functions would bring a BLAS of 25 MB along."""

OURS = ("cloud", "edge", "edgeloop", "simulations")
"""Packages that keep their sources: settings are read from them, and errors show their lines."""

READS_ITSELF = "install_config_module("
"""In a source of torch's that is read as it is imported."""

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
            elif name in WRITTEN:
                path.write_text(WRITTEN[name], encoding="utf-8")
            elif path.is_file():
                cut(path)
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for name in ("pip", "setuptools", "wheel"):
            shutil.rmtree(site / name, ignore_errors=True)


def drop_sources(site: Path, compiled: Iterable[Path]) -> None:
    """Remove the sources of other people's modules that are compiled: Python needs one of the two.

    Args:
        site: the site-packages.
        compiled: the modules' bytecode, in `__pycache__`; it takes the sources' place.
    """
    for path in compiled:
        source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
        if path.relative_to(site).parts[0] in OURS or not source.exists():
            continue
        if READS_ITSELF not in source.read_text(encoding="utf-8", errors="replace"):
            path.replace(source.with_suffix(".pyc"))
            source.unlink()


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
                _put(path, site / name, name)
    return whole


def _put(path: Path, place: Path, name: str) -> None:
    if name in WRITTEN:
        place.write_text(WRITTEN[name], encoding="utf-8")
        return
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
        folder = Path(arguments[-1])
        before = size_of(folder)
        if arguments[0] == "--compiled":
            for site in folder.glob("lib/python*/site-packages"):
                drop_sources(site, sorted(site.rglob("__pycache__/*.pyc")))
        else:
            slim(folder)
        after = size_of(folder)
    print(f"{before / 1e6:.0f} MB, {after / 1e6:.0f} MB slim")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
