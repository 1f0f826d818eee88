"""Opens a data set by its name or path, whatever its layout."""

from pathlib import Path

from edgeloop.data.federation import Federation, split
from edgeloop.data.images import read_class_folders
from edgeloop.data.parquet import read_parquet
from edgeloop.data.partitions import Partition
from edgeloop.data.pfllib import CONFIG, Layout, merge, open_folder
from edgeloop.data.sample import NAME, fashion_sample
from edgeloop.data.samples import Pool
from edgeloop.errors import ConfigError, DataError


def load(
    source: str | Path, partition: Partition | None = None, layout: Layout = "files"
) -> Federation:
    """Open a data set, divided among its clients.

    Args:
        source: `fashion-sample`; or a folder with `config.json` (ours, PFLlib's or HtFLlib's); or a
            parquet file or folder; or a folder of class-named folders of images.
        partition: how to divide it. None or `natural` keeps a `config.json` folder as it is; any
            other kind pools all its clients first. Every other source needs one.
        layout: `signal` restores the channels of windows that HtFL-OnDevice interleaved with time.

    Raises:
        ConfigError: no partition where one is needed, or a layout that the source cannot have.
        DataError: a source that is missing, unknown or malformed, or that cannot be divided so.
    """
    folder = Path(source)
    if str(source) != NAME and (folder / CONFIG).is_file():
        federation = open_folder(folder, layout)
        if partition is None or partition.kind == "natural":
            if partition is not None and partition.samples is not None:
                problem = "cannot be drawn from clients that keep their own"
                raise ConfigError("samples", problem, "choose iid, pathological or dirichlet")
            return federation
        return split(merge(federation), partition)
    if layout != "files":
        problem = f"{layout!r}, but this source has no config.json with one file per client"
        raise ConfigError("layout", problem, "use 'files'")
    pool = _pool(source)
    if partition is None:
        remedy = "choose iid, pathological or dirichlet, or natural where it names its clients"
        raise ConfigError("partition", f"missing, and {source} is not divided yet", remedy)
    return split(pool, partition)


def _pool(source: str | Path) -> Pool:
    """Read an undivided source whole."""
    path = Path(source)
    if str(source) == NAME:
        return fashion_sample()
    if not path.exists():
        raise DataError(str(source), "no such file or folder", f"check the path, or use {NAME}")
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        return read_parquet(path)
    if not path.is_dir():
        raise DataError(str(source), "unknown layout", "name a .parquet file or a folder")
    return read_class_folders(path)
