"""An upload as vectors that can be compared from client to client, and an upload of such vectors.

What has labels is compared class by class; all other floats together, as one vector.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeloop.protocol import wire

Array = npt.NDArray[Any]
LABELS = "labels"
SAMPLES = "samples"


class Part(NamedTuple):
    """What is compared; the same of two uploads where their vectors are as long.

    Attributes:
        label: of a class; None for what has no class.
        shapes: of the arrays that the vector is made of, by their names.
    """

    label: int | None
    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    def __str__(self) -> str:
        return "" if self.label is None else f"class {self.label}"


@dataclass(frozen=True)
class Opened:
    """An upload, taken apart.

    Attributes:
        upload: as it came.
        vectors: of its parts.
        counts: samples that each part is made of; 1 where it does not say.
    """

    upload: Any
    vectors: Mapping[Part, Array]
    counts: Mapping[Part, int]


def open_upload(upload: Any) -> Opened:
    """Take an upload apart."""
    arrays = {n: a for n, a in wire.arrays(upload).items() if a.dtype.kind == "f" and a.size}
    labels = _labels(upload)
    if labels is None:
        whole = _whole(arrays)
        return Opened(upload, whole, {part: int(getattr(upload, SAMPLES, 1)) for part in whole})
    rows = {n: a for n, a in arrays.items() if _letter(n) == _letter(labels)}
    counts = _row_counts(upload, labels)
    vectors, of_samples = {}, {}
    for place, label in enumerate(getattr(upload, labels).tolist()):
        for part, vector in _whole({n: a[place] for n, a in rows.items()}, label).items():
            vectors[part], of_samples[part] = vector, int(counts[place])
    return Opened(upload, vectors, of_samples)


def close_upload(opened: Opened, vectors: Mapping[Part, Array], most: Mapping[Part, int]) -> Any:
    """Return an upload with other vectors, and no larger counts; None if none of it is left.

    Args:
        opened: the upload as it was.
        vectors: of its parts; a part that is missing is left out.
        most: samples that each part may claim.
    """
    if not opened.vectors:
        return opened.upload
    labels = _labels(opened.upload)
    if labels is None:
        return _with_whole(opened, vectors, most) if vectors else None
    return _with_rows(opened, labels, vectors, most)


def _with_whole(opened: Opened, vectors: Mapping[Part, Array], most: Mapping[Part, int]) -> Any:
    ((part, vector),) = vectors.items()
    changes = _arrays(part, vector)
    claimed, allowed = opened.counts[part], most[part]
    if claimed > allowed:
        changes |= {SAMPLES: allowed, **_fewer(opened.upload, claimed, allowed)}
    return dataclasses.replace(opened.upload, **changes)


def _fewer(upload: Any, claimed: int, allowed: int) -> dict[str, Any]:
    """Return counts by class, fewer by as much as the samples are."""
    return {
        name: (each.astype(object) * allowed // claimed).astype(each.dtype)
        for name, each in wire.arrays(upload).items()
        if name.startswith("counts_")
    }


def _with_rows(
    opened: Opened, labels: str, vectors: Mapping[Part, Array], most: Mapping[Part, int]
) -> Any:
    upload, parts = opened.upload, list(opened.vectors)
    kept = [place for place, part in enumerate(parts) if part in vectors]
    rows = {
        name: array[kept]
        for name, array in wire.arrays(upload).items()
        if _letter(name) == _letter(labels)
    }
    for row, place in enumerate(kept):
        for name, values in _arrays(parts[place], vectors[parts[place]]).items():
            rows[name][row] = values
    for name in rows:
        if name.startswith("counts_"):
            limits = [most[parts[place]] for place in kept]
            rows[name] = np.minimum(rows[name], np.array(limits, rows[name].dtype))
    return dataclasses.replace(upload, **rows)


def _whole(arrays: Mapping[str, Array], label: int | None = None) -> dict[Part, Array]:
    """Return arrays as one vector, by what they are; nothing of none."""
    if not arrays:
        return {}
    part = Part(label, tuple((name, each.shape) for name, each in arrays.items()))
    flat = [each.reshape(-1) for each in arrays.values()]
    return {part: flat[0] if len(flat) == 1 else np.concatenate(flat)}


def _arrays(part: Part, vector: Array) -> dict[str, Any]:
    """Return the arrays that a vector is made of."""
    found, start = {}, 0
    for name, shape in part.shapes:
        size = int(np.prod(shape, dtype=np.int64))
        found[name] = vector[start : start + size].reshape(shape)
        start += size
    return found


def _labels(upload: Any) -> str | None:
    """Return the name of an upload's array of class labels; None where it has none."""
    names = (name for name in wire.arrays(upload) if name.startswith(f"{LABELS}_"))
    return next(names, None)


def _row_counts(upload: Any, labels: str) -> Array:
    """Return how many samples each row is made of."""
    for name, each in wire.arrays(upload).items():
        if name.startswith("counts_") and _letter(name) == _letter(labels):
            return each
    return np.ones(len(getattr(upload, labels)), np.int64)


def _letter(name: str) -> str:
    """Return the first dimension of an array, by the name of its field."""
    return name.rpartition("_")[2][:1]
