"""A generator of the user's own becomes a folder in the local store: ONNX, a DCGAN, a StyleGAN."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cloud.generator_service import fetching, storing
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generators import converting, manifest
from edgeloop.generators.manifest import PARTS, Manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.runtime import atomic_files

LONGEST_SECONDS = 3600.0
"""That the conversion of a pickle may take."""
STATES = (".pt", ".pth", ".tar")
PICKLE = ".pkl"

Say = Callable[[str], None]


@dataclass(frozen=True)
class GeneratorInfo:
    """What a manifest says of a generator.

    Attributes:
        name: in the store.
        title: in a few words.
        source: where its weights come from.
        licence: of its weights.
    """

    name: str
    title: str
    source: str
    licence: str = "not stated"


_BEGIN = 200  # bytes
_NO_FILES = {
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull gets what it points at)",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "a web page",
}
"""How files begin that are saved under another one's name."""


@dataclass(frozen=True)
class ImportOptions:
    """How to read a file.

    Attributes:
        trust: whether the user trusts a pickle's source.
        key: where a file keeps the state dict; empty if it is the file's whole content.
        classes: of a conditional DCGAN; 0 for another.
        replace: whether a generator that has the name may go.
    """

    trust: bool = False
    key: str = ""
    classes: int = 0
    replace: bool = False


def import_generator(
    path: Path, about: GeneratorInfo, options: ImportOptions, say: Say
) -> Manifest:
    """Import a generator: a folder, a DCGAN's state dict (.pt, .pth, .tar), or a StyleGAN's .pkl.

    Args:
        path: of the folder or file.
        about: for the manifest; a folder's own, but for the name, goes first.
        options: how to read it.
        say: called with what is being done.

    Raises:
        ConfigError: for a pickle without trust, or what is no name.
        GeneratorError: if it holds no generator, or the name is taken.
    """
    _check(path, options)
    with storing.new(about.name, replace=options.replace) as place:
        if path.is_dir():
            return _copied(path, place, about.name)
        if path.suffix == PICKLE:
            return _convert_pickle(path, place, about, say)
        content = path.read_bytes()
        parts = fetching.dcgan_parts(content, path.name, key=options.key, classes=options.classes)
        say("converting to ONNX")
        return converting.convert(parts, place, asdict(about))


def _check(path: Path, options: ImportOptions) -> None:
    if not path.exists():
        raise GeneratorError(str(path), "is not there", "name a file or a folder")
    if path.is_dir():
        return
    if path.suffix not in (*STATES, PICKLE):
        problem = f"is no file that can be imported: its name ends in {path.suffix or 'nothing'}"
        remedy = f"name a generator's folder, or a file ending in {', '.join((*STATES, PICKLE))}"
        raise GeneratorError(str(path), problem, remedy)
    _check_begin(path)
    if path.suffix == PICKLE and not options.trust:
        problem = (
            f"{path.name} is a pickle: reading it runs code in it, which may do all you may do"
        )
        raise ConfigError("--trust", problem, "give it only for a file from a source you trust")


def _check_begin(path: Path) -> None:
    """Refuse what a download left in the place of a file.

    Raises:
        GeneratorError: a pointer of Git LFS, a web page, or nothing.
    """
    with path.open("rb") as file:
        begin = file.read(_BEGIN).lstrip().lower()
    kind = next((kind for mark, kind in _NO_FILES.items() if begin.startswith(mark)), None)
    if kind is not None or not begin:
        problem = f"is {kind or 'empty'}, not the file itself"
        raise GeneratorError(path.name, problem, "download it again, and look at its size")


def _copied(path: Path, place: Path, name: str) -> Manifest:
    """Copy a generator's folder, if it makes what its manifest says."""
    generator = OnnxGenerator(path)
    found = generator.manifest
    try:
        images = generator.synthesize(generator.sample_latents(2, 0))
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        raise _not_what_it_says(path, str(error).partition("\n")[0][:200]) from error
    if images.shape != (2, *found.shape) or images.dtype.name != "uint8":
        raise _not_what_it_says(path, f"images of shape {list(images.shape[1:])}, {images.dtype}")
    for part in PARTS:
        atomic_files.write(place / part, (path / part).read_bytes())
    return manifest.write(place, **found.model_dump(exclude={"name", "sha256"}), name=name)


def _not_what_it_says(path: Path, reason: str) -> GeneratorError:
    problem = f"does not do what its manifest says ({reason})"
    return GeneratorError(str(path), problem, "write it again; docs/generators.md has the format")


def _convert_pickle(path: Path, place: Path, about: GeneratorInfo, say: Say) -> Manifest:
    """Have a process of its own convert a pickle; tell what it tells."""
    words = [str(path.resolve()), str(place), json.dumps(asdict(about))]
    with subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "cloud.generator_service.pickled", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        timer = threading.Timer(LONGEST_SECONDS, process.kill)
        timer.start()
        try:
            error = _relay_output(process, say)
        finally:
            in_time = timer.is_alive()
            timer.cancel()
            process.kill()
    if process.returncode:
        raise _ended(path, process.returncode, error, in_time)
    return manifest.read(place)


def _relay_output(process: "subprocess.Popen[str]", say: Say) -> str:
    """Say what a process says until it ends; return the last line of its errors."""
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
    reader.start()
    for line in process.stdout or ():
        say(line.rstrip("\n"))
    process.wait()
    reader.join()
    return next((line.strip() for line in reversed(errors) if line.strip()), "")


def _ended(path: Path, code: int, error: str, in_time: bool) -> GeneratorError:
    if code == 2 and error.count("; "):
        head, _, remedy = error.rpartition("; ")
        return GeneratorError(path.name, head.removeprefix(f"{path.name}: "), remedy)
    if not in_time:
        problem = f"took longer than {LONGEST_SECONDS:.0f} s to convert"
        return GeneratorError(path.name, problem, "use a faster machine")
    how = f"signal {-code}" if code < 0 else f"code {code}, {error[:200]}"
    problem = f"the process that read it ended with {how}"
    return GeneratorError(path.name, problem, "see that there is memory enough, then report it")
