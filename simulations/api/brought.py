"""What a person gives in Python, as the names that a run's settings have for it."""

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop import models
from edgeloop.data import Pool, Source, hub
from edgeloop.data.archives import to_inputs
from edgeloop.data.labels import numbered
from edgeloop.data.looks import log_looks
from edgeloop.data.samples import check_shard
from edgeloop.errors import ConfigError, DataError
from edgeloop.runtime import plugins
from edgeloop.runtime.plugins import Group

_FORMS = (
    "give a path, (x, y), (x, y, clients), a torch Dataset, a Hugging Face dataset,"
    " or (training, test)"
)
_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass
class Brought:
    """Names for objects, and which of them another process could not import.

    Attributes:
        local: the objects that live in this process only, by what they are.
    """

    local: dict[str, str] = field(default_factory=dict)

    def name(self, group: Group, given: Any, give: Callable[[str, Any], None] | None = None) -> str:
        """Return the name of an object: its import path, or one of its own in this process.

        Args:
            group: what it is one of.
            given: a text is a name already.
            give: takes the object by its name; the group's own if not given.
        """
        if isinstance(given, str):
            return given
        path = import_path(given)
        if path is not None:
            return group.admit(path)
        text = getattr(given, "__name__", type(given).__name__)
        name = "own-" + (_NOT_A_LETTER.sub("-", text.lower()).strip("-") or group.word)
        (give or group.give)(name, given)
        self.local[group.word] = text
        return name

    def check_workers(self, workers: int | str) -> None:
        """Refuse several processes for what only this one has.

        Raises:
            ConfigError: naming it.
        """
        if workers != 1 and self.local:
            word, text = next(iter(self.local.items()))
            problem = f"are {workers}, and the {word} {text} cannot be imported by other processes"
            raise ConfigError("workers", problem, "put it into a module of its own, or leave it 1")


def import_path(given: Any) -> str | None:
    """Return where an object can be imported from, `pkg.module:Name`; None where it cannot."""
    if isinstance(given, ModuleType):
        module, _, name = given.__name__.rpartition(".")
    else:
        module, name = getattr(given, "__module__", ""), getattr(given, "__qualname__", "")
    if not module or not name or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    path = f"{module}:{name}"
    return path if found is given and plugins.reference(path) is not None else None


def model_name(brought: Brought, model: Any) -> str | None:
    """Return the `models` of a run: a name, or a list of names and networks, shared out in turn."""
    if model is None:
        return None
    each = model if isinstance(model, list | tuple) else [model]
    return ",".join(brought.name(plugins.MODELS, one, models.give) for one in each)


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
    if isinstance(data, str | Path):
        return str(data)
    if type(data).__module__.partition(".")[0] == "datasets":
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
        read = [_pair(part) for part in data]
        names = class_names or getattr(data[0], "classes", None)
        x, y = (np.concatenate([pair[place] for pair in read]) for place in (0, 1))
        return _arrays(x, y, None, names)
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        x, y, *clients = data
        return _arrays(x, y, clients[0] if clients else None, class_names)
    if _is_dataset(data):
        names = class_names or getattr(data, "classes", None)
        return _arrays(*_pair(data), None, names)
    forms = _FORMS
    if hasattr(data, "dataset"):
        forms = "give its dataset, loader.dataset: edgeloop makes the batches"
    raise ConfigError("data", f"is {type(data).__name__}, which is none", forms)


def _is_dataset(data: Any) -> bool:
    """Return whether something can be read item by item, by numbers."""
    readable = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return readable and not isinstance(data, Mapping)


def _are_parts(data: Sequence[Any]) -> bool:
    """Return whether these are parts, training then test: torch Datasets, or pairs (x, y)."""
    return all(_is_pair(part) or _is_torch_like(part) for part in data)


def _is_torch_like(part: Any) -> bool:
    plain = isinstance(part, tuple | list | str | np.ndarray) or hasattr(part, "shape")
    return _is_dataset(part) and not plain


def _is_pair(part: Any) -> bool:
    """Return whether this is samples (N, ...) and labels (N,), and no row of numbers."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    sizes = [len(each) if hasattr(each, "__len__") else 0 for each in part]
    return 0 < sizes[0] == sizes[1] and np.ndim(part[0][0]) >= 1 and np.ndim(part[1][0]) == 0


def _pair(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return samples and labels; a torch Dataset is read whole: what it draws, it draws once."""
    if _is_pair(data):
        return _array(data[0]), _array(data[1])
    pairs = [data[number] for number in range(len(data))]
    if not pairs or not all(isinstance(each, tuple | list) and len(each) == 2 for each in pairs):
        raise ConfigError("data", f"{type(data).__name__} has no pairs of input and label", _FORMS)
    inputs = [_array(each) for each, _ in pairs]
    if len({each.shape for each in inputs}) > 1:
        problem = "its inputs have different shapes"
        raise DataError(type(data).__name__, problem, "resize them in its transform")
    return np.stack(inputs), np.array([int(label) for _, label in pairs])


def _arrays(x: Any, y: Any, clients: Any = None, class_names: Sequence[str] | None = None) -> Pool:
    """Return samples (N, ...) with labels (N,) and, where they are known, their clients (N,)."""
    inputs, cells = _channels_first(_array(x)), _array(y)
    cells = cells[:, 0] if cells.ndim == 2 and cells.shape[1] == 1 else cells
    if cells.ndim != 1 or len(cells) != len(inputs):
        problem = f"{len(inputs)} inputs for labels of shape {cells.shape}"
        remedy = "give every input one label" + (
            "; of one-hot rows, y.argmax(1)" * (cells.ndim == 2)
        )
        raise DataError("data", problem, remedy)
    labels, names = _labels(cells, class_names)
    owners = None if clients is None else np.unique(_array(clients), return_inverse=True)[1]
    samples = to_inputs(Path("x"), inputs)
    check_shard("data", samples, labels, len(names))
    log_looks("data", samples)
    return Pool(samples, labels, names, owners)


def _labels(
    cells: NDArray[Any], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if class_names is not None and cells.dtype.kind in "iu":
        return cells.astype(np.int64), tuple(map(str, class_names))
    if cells.dtype.kind == "O":
        missing = [place for place, cell in enumerate(cells) if cell is None or cell != cell]
        if missing:
            raise DataError(
                "data", f"sample {missing[0]} has no label", "give it one, or remove it"
            )
        cells = cells.astype(str)
    return numbered("data", "y", cells)


def _array(given: Any) -> NDArray[Any]:
    """Return an array of an array, a tensor, a list or an image."""
    tensor = getattr(given, "detach", None)
    return np.asarray(given if tensor is None else tensor().cpu().numpy())


def _channels_first(inputs: NDArray[Any]) -> NDArray[Any]:
    """Return images (N, H, W, C) with their colours first."""
    last = inputs.ndim == 4 and inputs.shape[3] in (1, 3) and inputs.shape[1] not in (1, 3)
    return inputs.transpose(0, 3, 1, 2) if last else inputs


def _pool_digest(pool: Pool) -> str:
    digest = hashlib.sha256(f"{pool.inputs.dtype} {pool.inputs.shape}".encode())
    for array in (pool.inputs, pool.labels, pool.clients):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
