"""Reads what the `datasets` library reads: `hf:PATH`, a folder on disk or a name on the hub.

A folder that `save_to_disk` wrote is loaded as such; anything else is what `load_dataset` takes.
The rows go through parquet files of their own into `read_parquet`, so that columns, labels and
parts are found as there. No code of a data set is run.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.dirichlet import Indices
from edgeloop.data.images import Size, optional
from edgeloop.data.parquet import read_parquet
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

PREFIX = "hf:"
_SAVED = ("dataset_dict.json", "state.json")
_EXTRA = "pip install 'edgeloop[hf]'"


def is_reference(source: str | Path) -> bool:
    """Return whether a source is to be read by `datasets`."""
    return str(source).startswith(PREFIX)


def read(
    source: Path,
    size: Size = None,
    wanted: Callable[[int], Indices] | None = None,
    asked: Columns = BY_NAME,
) -> Pool:
    """Read all splits of a data set; see `read_parquet`.

    Args:
        source: `hf:` and a path or a name.
        size: see `read_parquet`.
        wanted: see `read_parquet`.
        asked: see `read_parquet`.

    Raises:
        DataError: `datasets` is not installed or cannot read it, or see `read_parquet`.
    """
    name = str(source).removeprefix(PREFIX)
    splits = _splits(optional("datasets", "datasets", _EXTRA), name)
    return read_splits(splits, str(source), size, wanted, asked)


def read_splits(
    splits: Mapping[str, Any],
    source: str,
    size: Size = None,
    wanted: Callable[[int], Indices] | None = None,
    asked: Columns = BY_NAME,
) -> Pool:
    """Read the splits of a data set that the library has opened; see `read`.

    Args:
        splits: each a `datasets.Dataset`, by its name.
        source: what they are called in a message.
        size: see `read_parquet`.
        wanted: see `read_parquet`.
        asked: see `read_parquet`.

    Raises:
        DataError: as of `read`.
    """
    library = optional("datasets", "datasets", _EXTRA)
    with tempfile.TemporaryDirectory() as folder:
        for split, rows in splits.items():
            _encoded(library, rows).to_parquet(str(Path(folder, f"{split}.parquet")))
        try:
            return read_parquet(Path(folder), size, wanted, asked)
        except DataError as error:
            field = error.field.replace(folder, source)
            raise DataError(field, error.problem, error.remedy) from error


def _splits(library: Any, name: str) -> Mapping[str, Any]:
    path = Path(name)
    saved = any((path / each).is_file() for each in _SAVED)
    try:
        found = library.load_from_disk(name) if saved else library.load_dataset(name)
    except Exception as error:  # what it raises has no common base but Exception
        reason = " ".join(str(error).split())[:200]
        problem = f"cannot be read by datasets ({type(error).__name__}: {reason})"
        raise DataError(f"{PREFIX}{name}", problem, "check the path, or name a folder") from error
    return found if isinstance(found, Mapping) else {"train": found}


def _encoded(library: Any, rows: Any) -> Any:
    """Return rows whose images are bytes in the table."""
    pictures = [
        name for name, feature in rows.features.items() if isinstance(feature, library.Image)
    ]
    for name in pictures:
        rows = rows.cast_column(name, library.Image(decode=False))
    return rows.map(_with_bytes, fn_kwargs={"names": pictures}) if pictures else rows


def _with_bytes(row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    for name in names:
        cell = row[name]
        if cell and cell["bytes"] is None and cell["path"]:
            row[name] = {"bytes": Path(cell["path"]).read_bytes(), "path": None}
    return row
