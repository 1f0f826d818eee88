"""Opens a data set by its name or path, whatever its layout."""

from collections.abc import Callable
from pathlib import Path

from edgeloop.data import hub
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.dirichlet import Indices
from edgeloop.data.federation import Federation, split
from edgeloop.data.images import Size
from edgeloop.data.partitions import Partition
from edgeloop.data.pfllib import Layout, open_folder
from edgeloop.data.reference import DataReference
from edgeloop.data.samples import Pool
from edgeloop.data.source import Source, readable, refuse_columns, refuse_size
from edgeloop.errors import ConfigError
from edgeloop.runtime.plugins import SOURCES as SOURCE_PLUGINS

DIVIDED = "one file per client"
"""The layout of a folder that is divided already."""


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
            file or folder in one of the layouts of `layouts.SOURCES`.
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
    reference = DataReference.of(source)
    if reference.is_divided:
        refuse_columns(columns, DIVIDED)
        refuse_size(image_size, DIVIDED)
        with readable():
            return open_folder(reference.path, layout).divided(partition)
    if layout != "files":
        problem = f"{layout!r}, but this source has no config.json with one file per client"
        raise ConfigError("layout", problem, "use 'files'")
    wanted = partition.indices if partition else None
    pool = reference.undivided(columns).read(image_size, wanted, columns)
    if partition is None:
        kinds = "iid, pathological, dirichlet or exdir"
        remedy = f"choose {kinds}, or natural where it names its clients"
        problem = f"missing, and {reference.text} is not divided yet"
        raise ConfigError("partition", problem, remedy)
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
    return DataReference.of(source).undivided(columns).read(image_size, wanted, columns)


def layout_of(source: str | Path, columns: Columns = BY_NAME) -> Source:
    """Return the layout of an undivided source; where several fit, say so.

    Args:
        source: as of `load`.
        columns: as of `load`; where some are named, a table is meant.

    Raises:
        DataError: a source that is missing or in none of them.
    """
    return DataReference.of(source).undivided(columns).layout


def is_divided(source: str | Path) -> bool:
    """Return whether a source has one file per client, and needs no partition.

    Raises:
        DataError: a folder that may not be looked into.
    """
    return DataReference.of(source).is_divided


def admit(source: str) -> str:
    """Let in the reader that a person names by an import path, `pkg.module:NAME:PATH`.

    Returns:
        the source.
    """
    if hub.is_reference(source) or Path(source).exists():
        return source
    return SOURCE_PLUGINS.admit(source)
