"""What a served base comes from: the store, a folder, another server, or a generator's images.

NAME, PATH, http://...                              see `edgeloop.bases`
auto?shape=3x32x32                                  computed from a generator's images
    &classes=10                                     that clients will tell apart
    &generator=digits                               whose images
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl

from cloud.generator_service.bases.shapes import parse_shape
from edgeloop import bases, generators
from edgeloop.bases import building
from edgeloop.bases.manifest import Manifest
from edgeloop.errors import ConfigError

_FORM = "write auto?shape=3x32x32&classes=10&generator=digits; the last two may be left out"


def is_computed(source: str) -> bool:
    """Return whether a source is computed from a generator's images."""
    return source.partition("?")[0] == bases.AUTO


@contextmanager
def opened(source: str, say: Callable[[str], None]) -> Iterator[Path]:
    """Give the folder of a source's base; a computed one is there until the block ends.

    Raises:
        BaseError: if there is none.
        ConfigError: if the source is none.
        GeneratorError: if its generator cannot be used.
    """
    if not is_computed(source):
        yield bases.folder_of(source)
        return
    shape, classes, generator = _asked(source)
    recipe = building.recipe_for(shape, classes)
    used = generators.load(generator)
    with TemporaryDirectory() as folder:
        graph = building.graph_of_generator(used, shape, recipe, say)
        place = Path(folder, "base")
        building.write_base(place, graph, shape, recipe, used.identity)
        yield place


def check(source: str, facts: Manifest) -> None:
    """Refuse a base that was computed for other inputs than a source is for.

    Raises:
        ConfigError: if it was, or the source is none.
    """
    shape, _, _ = _asked(source)
    if tuple(facts.shape) != shape:
        problem = f"is a base for inputs of {tuple(facts.shape)}, not of {shape}"
        raise ConfigError("version", problem, "give the other one another version")


def _asked(source: str) -> tuple[tuple[int, ...], int, str]:
    """Return the shape, the number of classes and the generator of a computed base."""
    query = source.partition("?")[2]
    try:
        query_facts = dict(parse_qsl(query, strict_parsing=True))
    except ValueError as error:
        raise ConfigError("base", f"{source!r} says of no shape", _FORM) from error
    shape, classes = query_facts.pop("shape", ""), query_facts.pop("classes", "10")
    generator = query_facts.pop("generator", generators.EMBEDDED)
    if query_facts or not shape:
        problem = (
            f"{source!r} asks for {', '.join(query_facts)}"
            if query_facts
            else f"{source!r} has no shape"
        )
        raise ConfigError("base", problem, _FORM)
    if not classes.isdecimal() or not 2 <= int(classes) <= 100_000:
        raise ConfigError("base", f"{classes!r} is no number of classes", "give 2 or more")
    return parse_shape(shape), int(classes), generator
