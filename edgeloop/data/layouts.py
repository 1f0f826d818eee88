"""Every layout that data sets are read in: this package's, and those that other packages bring.

A file of this folder that binds `SOURCE` brings one more layout. Other packages bring more, too:
entry points of `edgeloop.sources`, each a `Source`.
"""

from dataclasses import replace
from pathlib import Path

from edgeloop.data import (
    arrays,
    cameras,
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
from edgeloop.data.images import read_class_folders
from edgeloop.data.parquet import read_parquet
from edgeloop.data.parquet_files import holds_parquet
from edgeloop.data.sample import fashion_sample
from edgeloop.data.source import Source
from edgeloop.data.table_reading import read_table
from edgeloop.errors import ConfigError
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import SOURCES as SOURCE_PLUGINS

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

EMBEDDED = Source("embedded", Path.exists, lambda _: fashion_sample())
"""What is in this package."""

HUB = Source("datasets", hub.is_reference, hub.read, resizes=True, sparing=True, named=True)
"""What another library reads; see `hub`."""

FOLDERS = Source("class folders", Path.is_dir, read_class_folders, resizes=True)
"""What any other folder is taken for."""


def origins() -> dict[str, str]:
    """Return every layout, and where it is from: edgeloop, or another package and its version."""
    names = [*_built_in(), *SOURCE_PLUGINS.names()]
    return {name: SOURCE_PLUGINS.origins(name, _built_in()) for name in names}


def own() -> list[Source]:
    """Return this package's layouts that tell themselves, in the order in which they are asked."""
    return [*SOURCES, *modules.constants("edgeloop.data", "SOURCE").values()]


def _built_in() -> list[str]:
    return [each.layout for each in (*own(), TABLES, HUB, FOLDERS)]


def of_others(name: str) -> Source:
    """Return the layout of this name that another package brings.

    Raises:
        ConfigError: if there is none, it is broken, or its name is here already.
    """
    point = SOURCE_PLUGINS.find(name, _built_in())
    if point is None:
        known = ", ".join(origins())
        raise ConfigError("data source", f"there is no {name!r}", f"choose one of {known}")
    theirs = SOURCE_PLUGINS.load(point, Source)
    matches, read = (SOURCE_PLUGINS.guarded(point, each) for each in (theirs.matches, theirs.read))
    return replace(theirs, layout=name, matches=matches, read=read)
