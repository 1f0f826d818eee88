"""Data that a person gives in Python, as the name that a run's settings have for them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from edgeloop.data import Pool, Source, hub
from edgeloop.data.archives import to_inputs
from edgeloop.data.labels import numbered
from edgeloop.data.looks import log_looks
from edgeloop.data.samples import check_shard
from edgeloop.errors import ConfigError, DataError
from edgeloop.runtime import plugins

_LARGEST = 2**62
_FORMS = (
    "give a path, (x, y), (x, y, clients), a torch Dataset, a Hugging Face dataset,"
    " or (training, test)"
)


def data_name(data: Any, class_names: Sequence[str] | None = None) -> str:
    """Return the name that a run has its data by.

    Args:
        data: a path or a name; (x, y), or (x, y, clients); a torch Dataset; a Hugging Face dataset
            or several by their parts; or an `edgeloop.data.Pool`.
        class_names: of arrays and torch datasets; as the labels say if not given.

    Raises:
        ConfigError: if it is none of these.
        DataError: if its samples and labels do not fit.
    """
    named = isinstance(data, str | Path)
    if class_names is not None and (named or isinstance(data, Pool) or _is_hub(data)):
        problem = "are of arrays and torch datasets, and these data name their own"
        raise ConfigError("class_names", problem, "leave them out")
    if named:
        return str(data)
    if _is_hub(data):
        source = Source(
            "datasets",
            Path.exists,
            partial(_read_splits, data),
            resizes=True,
            sparing=True,
            named=True,
        )
        return _given("datasets", source, _splits_digest(data))
    pool = data if isinstance(data, Pool) else _pool(data, class_names)
    source = Source("arrays", Path.exists, lambda path: pool)
    return _given("arrays", source, _pool_digest(pool))


def _is_hub(data: Any) -> bool:
    """Return whether something is of Hugging Face's `datasets`, which need not be installed."""
    return type(data).__module__.partition(".")[0] == "datasets"


def _given(kind: str, source: Source, digest: str) -> str:
    name = f"{kind}-{digest[:12]}"
    plugins.SOURCES.give(name, source)
    return name


def _read_splits(splits: Any, path: Path, *more: Any, **asked: Any) -> Pool:
    parts = splits if isinstance(splits, dict) else {"train": splits}
    return hub.read_splits(parts, str(path), *more, **asked)


def _splits_digest(data: Any) -> str:
    parts = data if isinstance(data, dict) else {"train": data}
    text = ", ".join(f"{name} {rows._fingerprint}" for name, rows in parts.items())
    return hashlib.sha256(text.encode()).hexdigest()


def _pool(data: Any, class_names: Sequence[str] | None) -> Pool:
    if isinstance(data, tuple | list) and len(data) in (2, 3) and _are_parts(data):
        x, y = _joined([_pair(part) for part in data])
        return _arrays(x, y, None, _names(class_names, data[0]))
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        x, y, *clients = data
        return _arrays(x, y, clients[0] if clients else None, _names(class_names))
    if _is_dataset(data) and not _is_array(data):
        return _arrays(*_pair(data), None, _names(class_names, data))
    forms = _FORMS
    if hasattr(data, "dataset"):
        forms = "give its dataset, loader.dataset: edgeloop makes the batches"
    elif _is_array(data):
        forms = "give its labels, too: (x, y)"
    elif isinstance(data, Mapping):
        forms = "give its arrays: (x, y)"
    raise ConfigError("data", f"is {type(data).__name__}, which is none", forms)


def _joined(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> list[NDArray[Any]]:
    """Return the samples of all parts, and their labels."""
    shapes = {x.shape[1:] for x, _ in parts}
    if len(shapes) > 1:
        problem = f"its parts have samples of shapes {', '.join(map(str, sorted(shapes)))}"
        raise DataError("data", problem, "make them alike")
    if len({_has_words(y) for _, y in parts}) > 1:
        raise DataError("data", "its parts have words and numbers as labels", "give one of both")
    return [np.concatenate([pair[place] for pair in parts]) for place in (0, 1)]


def _has_words(cells: NDArray[Any]) -> bool:
    mixed = cells.dtype.kind == "O"  # words, and what is missing
    return any(isinstance(each, str) for each in cells) if mixed else cells.dtype.kind in "US"


def _names(given: Sequence[str] | None, data: Any = None) -> tuple[str, ...] | None:
    """Return the names of the classes: as they are given, or as a torch Dataset has them."""
    if given is None:
        while not hasattr(data, "classes") and hasattr(data, "dataset"):
            data = data.dataset  # of a Subset
        found = getattr(data, "classes", None)
        return tuple(map(str, found)) if isinstance(found, Iterable) else None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError("class_names", f"are {given!r}, and no list", "give a list of names")
    names = tuple(map(str, given))
    if len({*names}) < len(names):
        again = next(name for name in names if names.count(name) > 1)
        raise ConfigError("class_names", f"have {again!r} twice", "give each class its own name")
    return names


def _is_dataset(data: Any) -> bool:
    """Return whether something can be read item by item, by numbers."""
    readable = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return readable and not isinstance(data, Mapping)


def _is_array(data: Any) -> bool:
    """Return whether something is an array or a table, and no torch Dataset, whatever that has."""
    known = any(hasattr(data, name) for name in ("dtype", "columns", "iloc"))
    return known and not isinstance(data, Dataset)


def _are_parts(data: Sequence[Any]) -> bool:
    """Return whether these are parts, training then test: torch Datasets, or pairs (x, y)."""
    return all(_is_pair(part) or _is_torch_like(part) for part in data)


def _is_torch_like(part: Any) -> bool:
    plain = isinstance(part, tuple | list | str) or _is_array(part)
    return _is_dataset(part) and not plain


def _is_pair(part: Any) -> bool:
    """Return whether this is samples (N, ...) and labels (N,), and no row of numbers."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    try:
        return 0 < len(part[0]) == len(part[1]) and _depth(part[0]) >= 2 and _depth(part[1]) == 1
    except (IndexError, TypeError, ValueError):  # of something that is no array
        return False


def _depth(array: Any) -> int:
    return int(array.ndim) if hasattr(array, "ndim") else 1 + np.ndim(array[0])


def _pair(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return samples and labels; a torch Dataset is read whole: what it draws, it draws once."""
    if _is_pair(data):
        return _array(data[0]), _array(data[1])
    pairs = [_item(data, number) for number in range(len(data))]
    if not pairs or not all(isinstance(each, tuple | list) and len(each) == 2 for each in pairs):
        raise ConfigError("data", f"{type(data).__name__} has no pairs of input and label", _FORMS)
    inputs = [np.asarray(_plain(each)) for each, _ in pairs]
    if len({each.shape for each in inputs}) > 1:
        problem = "its inputs have different shapes"
        raise DataError(type(data).__name__, problem, "resize them in its transform")
    return np.stack(inputs), _array([_label(label) for _, label in pairs])


def _item(data: Any, number: int) -> Any:
    try:
        return data[number]
    except Exception as error:  # whatever a person's data set raises
        problem = f"sample {number} cannot be read ({type(error).__name__}: {error})"
        raise DataError(type(data).__name__, problem, "mend the data set") from error


def _label(given: Any) -> Any:
    """Return a label as a number or a word, where it is one in an array."""
    label = _plain(given)
    return label.item() if isinstance(label, np.ndarray) and label.size == 1 else label


def _arrays(x: Any, y: Any, clients: Any = None, class_names: Sequence[str] | None = None) -> Pool:
    """Return samples (N, ...) with labels (N,) and, where they are known, their clients (N,)."""
    inputs, cells = _channels_first(_array(x)), _array(y, "labels")
    cells = cells[:, 0] if cells.ndim == 2 and cells.shape[1] == 1 else cells
    if cells.ndim != 1 or len(cells) != len(inputs):
        problem = f"{len(inputs)} inputs for labels of shape {cells.shape}"
        remedy = "give every input one label" + (
            "; of one-hot rows, y.argmax(1)" * (cells.ndim == 2)
        )
        raise DataError("data", problem, remedy)
    labels, names = _labels(cells, class_names)
    owners = None if clients is None else _owners(_array(clients, "clients"))
    samples = to_inputs(Path("x"), inputs)
    check_shard("data", samples, labels, len(names))
    log_looks("data", samples)
    return Pool(samples, labels, names, owners)


def _owners(cells: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each sample's client."""
    _check_known(cells, "client")
    mixed = cells.dtype.kind == "O" and len({type(each) for each in cells.flat}) > 1
    return np.unique(cells.astype(str) if mixed else cells, return_inverse=True)[1].reshape(-1)


def _check_known(cells: NDArray[Any], what: str) -> None:
    """Refuse a sample without a label, or without a client.

    Raises:
        DataError: naming the first.
    """
    missing: NDArray[Any] = np.zeros(len(cells), bool)
    if cells.dtype.kind == "f" and cells.ndim == 1:
        missing = np.isnan(cells)
    elif cells.dtype.kind == "O":
        missing = np.array([_is_missing(each) for each in cells], bool)
    if missing.any():
        problem = f"sample {int(np.argmax(missing))} has no {what}"
        raise DataError("data", problem, "give it one, or remove it")


def _is_missing(cell: Any) -> bool:
    """Return whether a cell is None, NaN, or pandas' NA, which is not even equal to itself."""
    try:
        return cell is None or bool(cell != cell)
    except (TypeError, ValueError):
        return True


def _labels(
    cells: NDArray[Any], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    _check_known(cells, "label")
    if cells.dtype.kind == "O":
        cells = cells.astype(np.int64 if all(map(_is_whole, cells)) else str)
    given = () if class_names is None else tuple(class_names)
    if class_names is not None and cells.dtype.kind in "iub":
        return cells.astype(np.int64), given
    labels, names = numbered("data", "y", cells)
    if class_names is None:
        return labels, names
    if cells.dtype.kind == "U":
        unknown = [name for name in names if name not in given]
        if unknown:
            problem = f"{unknown[0]!r} is a label, and none of class_names"
            raise DataError("data", problem, "add it there, or leave class_names out")
        places = np.array([given.index(name) for name in names], np.int64)
        return places[labels], given
    return cells.astype(np.int64), given


def _are_words(cells: Any) -> bool:
    return not isinstance(cells, list) or all(isinstance(each, str) for each in cells)


def _is_whole(cell: Any) -> bool:
    """Return whether a cell of any type is a whole number; `True` is a word."""
    number = isinstance(cell, int | float | np.integer | np.floating) and not isinstance(cell, bool)
    return number and abs(cell) < _LARGEST and int(cell) == cell


def _array(given: Any, what: str = "inputs") -> NDArray[Any]:
    """Return an array (N, ...) of an array, a tensor, a list or an image.

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise DataError("data", f"its {what} have masked values", "fill them: x.filled(...)")
    try:
        plain = [_plain(each) for each in given] if isinstance(given, list | tuple) else given
        array = np.asarray(_plain(plain))
        if array.dtype.kind == "U" and array.ndim == 1 and not _are_words(plain):
            array = np.asarray(plain, object)  # NaN among words is no word
    except ValueError as error:
        raise DataError("data", f"its {what} have different shapes", "make them alike") from error
    if array.ndim == 0:
        remedy = "give an array or a list: of a generator list(...), of a sparse matrix .toarray()"
        raise DataError("data", f"its {what} are {type(given).__name__}, and no array", remedy)
    return array


def _plain(given: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    detach = getattr(given, "detach", None)
    if detach is None:
        return given
    tensor = detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _channels_first(inputs: NDArray[Any]) -> NDArray[Any]:
    """Return images (N, H, W, C) with their colours first."""
    last = inputs.ndim == 4 and inputs.shape[3] in (1, 3) and inputs.shape[1] not in (1, 3)
    return inputs.transpose(0, 3, 1, 2) if last else inputs


def _pool_digest(pool: Pool) -> str:
    digest = hashlib.sha256(f"{pool.inputs.dtype} {pool.inputs.shape}".encode())
    for array in (pool.inputs, pool.labels, pool.clients):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
