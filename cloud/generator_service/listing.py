"""What generators there are: embedded, in the local store, and in the catalogue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.generator_service.catalogue import CATALOGUE, Entry
from edgeloop import generators
from edgeloop.errors import GeneratorError
from edgeloop.generators import manifest
from edgeloop.generators.manifest import MANIFEST
from edgeloop.runtime.plugins import GENERATORS


@dataclass(frozen=True)
class GeneratorLine:
    """A generator in the list.

    Attributes:
        name: as its users write it.
        where: embedded, store, or catalogue, which is not fetched yet; package: another one's.
        title: in a few words; what is wrong, if it is damaged.
        licence: of its weights.
        shape: of one image, channels first; None if it is not known yet.
        latent_dim: entries of a latent; None likewise.
        identity: SHA-256 of its weights; None likewise.
    """

    name: str
    where: str
    title: str
    licence: str
    shape: tuple[int, ...] | None = None
    latent_dim: int | None = None
    identity: str | None = None


def lines(catalogue: Sequence[Entry] = CATALOGUE) -> list[GeneratorLine]:
    """Return all generators that a reference on this machine may name."""
    embedded = list(_within(Path(generators.__file__).parent, "embedded"))
    stored = list(_within(generators.store(), "store"))
    there = {line.name for line in stored}
    others = [entry for entry in catalogue if entry.name not in there]
    fetchable = [
        GeneratorLine(entry.name, "catalogue", entry.title, entry.licence) for entry in others
    ]
    return [*embedded, *stored, *fetchable, *_of_others()]


def _of_others() -> Iterator[GeneratorLine]:
    """Say whose they are; only a whole reference says what they are."""
    for name in GENERATORS.names():
        origin = GENERATORS.origins(name, ())
        yield GeneratorLine(f"{name}:", "package", f"from {origin}", "not stated")


def _within(folder: Path, where: str) -> Iterator[GeneratorLine]:
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")):
        try:
            found = manifest.read(path.parent)
        except GeneratorError as error:
            yield GeneratorLine(path.parent.name, where, f"damaged: {error.problem}", "not stated")
            continue
        yield GeneratorLine(
            path.parent.name,
            where,
            found.title,
            found.licence or "not stated",
            found.shape,
            found.latent_dim,
            found.identity,
        )
