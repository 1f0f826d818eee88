"""Opens a data set by its name or path, whatever its layout.

A file of this folder that binds `SOURCE` brings one more layout. Other packages bring more, too:
entry points of `edgeloop.sources`, each a `Source`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from edgeloop.data import (
    advice,
    arrays,
    cameras,
    catalogue,
    cifar,
    flowers,
    hub,
    idx,
    news,
    pamap2,
    table_files,
    tiny_imagenet,
    uci_har,
)
from edgeloop.data.client_files import is_client_folder
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.dirichlet import Indices
from edgeloop.data.federation import Federation, split
from edgeloop.data.images import Size, read_class_folders
from edgeloop.data.parquet import read_parquet
from edgeloop.data.parquet_files import holds_parquet
from edgeloop.data.partitions import Partition, draw_indices
from edgeloop.data.pfllib import Layout, merge, open_folder
from edgeloop.data.sample import NAME, fashion_sample
from edgeloop.data.samples import Pool
from edgeloop.data.source import Source as Source
from edgeloop.data.source import readable as readable
from edgeloop.data.table_reading import read_table
from edgeloop.errors import ConfigError, DataError, EdgeloopError, choose
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import SOURCES as SOURCE_PLUGINS
from edgeloop.runtime.plugins import reference

log = logging.getLogger(__name__)


SOURCES = (
    Source("parquet", holds_parquet, read_parquet, resizes=True, sparing=True, named=True),
    Source("IDX", idx.matches, idx.read),
    Source("CIFAR batches", cifar.matches, cifar.read),
    Source("Flowers102", flowers.matches, flowers.read, resizes=True),
    Source("PAMAP2", pamap2.matches, pamap2.read),
    Source("UCI HAR", uci_har.matches, uci_har.read),
    Source("camera traps", cameras.matches, cameras.read, resizes=True),
    Source("AG News", news.matches, news.read),
    Source("npz of parts", arrays.matches, arrays.read),
    Source("Tiny-ImageNet", tiny_imagenet.matches, tiny_imagenet.read, resizes=True),
)
"""The layouts that tell themselves; the first one that matches is it, before other files'."""

TABLES = Source("table with labels", table_files.matches, read_table, resizes=True, named=True)
"""What is asked after all others', since theirs may be tables too."""

HUB = Source("datasets", hub.is_reference, hub.read, resizes=True, sparing=True, named=True)
"""What another library reads; see `hub`."""

FOLDERS = Source("class folders", Path.is_dir, read_class_folders, resizes=True)
"""What any other folder is taken for."""


def layouts() -> dict[str, str]:
    """Return every layout, and where it is from: edgeloop, or another package and its version."""
    names = [*_built_in(), *SOURCE_PLUGINS.names()]
    return {name: SOURCE_PLUGINS.origins(name, _built_in()) for name in names}


def _own() -> list[Source]:
    """Return this package's layouts that tell themselves, in the order in which they are asked."""
    return [*SOURCES, *modules.constants("edgeloop.data", "SOURCE").values()]


def _built_in() -> list[str]:
    return [each.layout for each in (*_own(), TABLES, HUB, FOLDERS)]


def of_others(name: str) -> Source:
    """Return the layout of this name that another package brings.

    Raises:
        ConfigError: if there is none, it is broken, or its name is here already.
    """
    point = SOURCE_PLUGINS.find(name, _built_in())
    if point is None:
        known = ", ".join(layouts())
        raise ConfigError("data source", f"there is no {name!r}", f"choose one of {known}")
    theirs = SOURCE_PLUGINS.load(point, Source)
    matches, read = (SOURCE_PLUGINS.guarded(point, each) for each in (theirs.matches, theirs.read))
    return replace(theirs, layout=name, matches=matches, read=read)


def load(
    source: str | Path,
    partition: Partition | None = None,
    layout: Layout = "files",
    image_size: Size = None,
    columns: Columns = BY_NAME,
) -> Federation:
    """Open a data set, divided among its clients.

    Args:
        source: `fashion-sample`; or a folder with `config.json` (ours, PFLlib's or HtFLlib's); or a
            file or folder in one of the layouts of `SOURCES`.
        partition: how to divide it. None or `natural` keeps a `config.json` folder as it is; any
            other kind pools all its clients first. Every other source needs one.
        layout: `signal` restores the channels of windows that HtFL-OnDevice interleaved with time.
        image_size: pixels of a side that image files are resized to, or a shape (C, H, W); the
            aspect ratio is not kept.
        columns: names of columns of a table, where their own names do not tell.

    Raises:
        ConfigError: no partition where one is needed, or a layout or an image size that the source
            cannot have.
        DataError: a source that is missing, unknown or malformed, or that cannot be divided so.
    """
    if is_divided(source):
        _check_columns(columns, "one file per client")
        with readable():
            return _divided(Path(source), partition, layout, image_size)
    if layout != "files":
        problem = f"{layout!r}, but this source has no config.json with one file per client"
        raise ConfigError("layout", problem, "use 'files'")
    pool = read(
        source, image_size, partial(draw_indices, partition) if partition else None, columns
    )
    if partition is None:
        kinds = "iid, pathological, dirichlet or exdir"
        remedy = f"choose {kinds}, or natural where it names its clients"
        raise ConfigError("partition", f"missing, and {source} is not divided yet", remedy)
    return split(pool, partition)


def read(
    source: str | Path,
    image_size: Size = None,
    wanted: Callable[[int], Indices] | None = None,
    columns: Columns = BY_NAME,
) -> Pool:
    """Read an undivided source whole.

    Args:
        source: as of `load`.
        image_size: as of `load`.
        wanted: given how many samples there are, tells which of them anybody will look at; the
            inputs of the others may be zeros. None means all.
        columns: as of `load`.

    Raises:
        ConfigError: an image size for a source without image files, or columns for one without.
        DataError: a source that is missing, unknown or malformed.
    """
    found = layout_of(source, columns)
    if not found.resizes:
        _check_size(image_size, found.layout)
    if not found.named:
        _check_columns(columns, found.layout)
    sized = (image_size,) if found.resizes else ()
    asked = {"asked": columns} if found.named else {}
    with readable():
        return found.read(Path(source), *sized, *((wanted,) if found.sparing else ()), **asked)


def layout_of(source: str | Path, columns: Columns = BY_NAME) -> Source:
    """Return the layout of an undivided source; where several fit, say so.

    Args:
        source: as of `load`.
        columns: as of `load`; where some are named, a table is meant.

    Raises:
        DataError: a source that is missing or in none of them.
    """
    path = _path(source)
    if (named := _named(source)) is not None:
        return named
    with readable():
        if not path.exists():
            raise DataError(str(source), "no such file or folder", _missing(path))
        fits = [known for known in _own() if known.matches(path)]
        if columns and not any(each.named for each in fits) and table_files.table_paths(path):
            return TABLES
        if fits:
            return _first(path, fits)
        theirs, broken = _recognised(path)
        if theirs is not None:
            return theirs
        if table_files.matches(path):
            return TABLES
    if path.is_dir():
        for problem in broken:
            log.warning("%s is taken for class folders: %s", path, problem)
        return FOLDERS
    problem = "; ".join(["unknown layout", *broken])
    usual = "name a folder or a file that docs/data.md has"
    raise DataError(str(source), problem, advice.remedy(path) or usual)


def _named(source: str | Path) -> Source | None:
    """Return the layout of a source that is no path, or that a person names with it; else None."""
    text = str(source)
    if text == NAME:
        return Source("embedded", Path.exists, lambda _: fashion_sample())
    if hub.is_reference(source):
        return HUB
    given = SOURCE_PLUGINS.brought(text)
    if isinstance(given, Source):
        return given
    named = reference(text)
    if named is None or named.path not in SOURCE_PLUGINS.names():
        return None
    theirs, rest = of_others(named.path), Path(named.rest or "")
    return replace(theirs, read=lambda _, *more, **asked: theirs.read(rest, *more, **asked))


def _first(path: Path, fits: Sequence[Source]) -> Source:
    """Return the first of the layouts that fit, and name the others."""
    if len(fits) > 1:
        others = ", ".join(each.layout for each in fits[1:])
        text = "%s: is read as %s; it would fit %s, too: name a file or a folder of what you mean"
        log.warning(text, path, fits[0].layout, others)
    return fits[0]


def _recognised(path: Path) -> tuple[Source | None, list[str]]:
    """Return the first of other packages' layouts that fits, and what is wrong with others."""
    broken: list[str] = []
    for name in SOURCE_PLUGINS.packaged():
        try:
            theirs = of_others(name)
            if theirs.matches(path):
                return theirs, broken
        except EdgeloopError as error:
            broken.append(str(error))
    return None, broken


def is_divided(source: str | Path) -> bool:
    """Return whether a source has one file per client, and needs no partition.

    Raises:
        DataError: a folder that may not be looked into.
    """
    with readable():
        return str(source) != NAME and is_client_folder(_path(source))


def admit(source: str) -> str:
    """Let in the reader that a person names by an import path, `pkg.module:NAME:PATH`.

    Returns:
        the source.
    """
    if hub.is_reference(source) or Path(source).exists():
        return source
    return SOURCE_PLUGINS.admit(source)


def _path(source: str | Path) -> Path:
    """Return a source's path; an empty name would be the folder that the command runs in."""
    if source == "":
        raise DataError("data", "is empty", f"name a file or a folder, or {NAME}")
    return Path(source)


def _divided(
    folder: Path, partition: Partition | None, layout: Layout, image_size: Size
) -> Federation:
    _check_size(image_size, "one file per client")
    federation = open_folder(folder, layout)
    if partition is not None and partition.kind != "natural":
        return split(merge(federation), partition)
    if partition is not None and partition.samples is not None:
        problem = "cannot be drawn from clients that keep their own"
        raise ConfigError("samples", problem, "choose iid, pathological, dirichlet or exdir")
    return federation


def _check_size(image_size: Size, layout: str) -> None:
    if image_size is not None:
        problem = f"is of image files, and this source has none ({layout})"
        raise ConfigError("image_size", problem, "leave it out")


def _check_columns(columns: Columns, layout: str) -> None:
    for name, value in asdict(columns).items():
        if value is not None:
            problem = f"is of a table, and this source has none ({layout})"
            raise ConfigError(f"{name}_column", problem, "leave it out")


def _missing(path: Path) -> str:
    if (meant := choose(path, [NAME])).startswith("did"):
        return meant
    known = catalogue.advice(path)
    if known is None:
        return f"check the path, or use {NAME}; edgeloop data list shows what can be fetched"
    return f"check the path, or {known}"
