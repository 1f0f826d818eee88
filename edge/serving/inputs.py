"""What a request asks about: pictures, arrays or JSON, as a batch that the classifier takes.

    a picture        PNG, JPEG, ... of any size, by its own bytes: one input
    .npy             one input, or a batch of them; of a model that takes whole pictures, these
    JSON             {"instances": [...]}: nested lists, or {"b64": "..."} with a picture or .npy

Shape suffix: B inputs.
"""

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.agent import images
from edge.agent.predict import Exported, Inputs
from edgeloop.errors import DataError
from edgeloop.runtime import atomic_files

MOST = 1024
"""Inputs of one request."""

NAME = "request"
_NPY = b"\x93NUMPY"
_FORMS = "send a picture, an .npy array, or JSON with instances"


def read(body: bytes | bytearray, kind: str, model: Exported) -> Inputs:
    """Return a request's inputs (B, *shape); of a model that takes whole pictures, these.

    Args:
        body: of the request.
        kind: its content type, which only tells JSON from all else; what JSON begins with does too.
        model: that is asked.

    Raises:
        DataError: if it is nothing that the classifier takes.
    """
    if not body:
        raise DataError(NAME, "is empty", _FORMS)
    if body[:1] in b"{[" or _is_json(kind):
        return _of_json(body, model)
    if body.startswith(_NPY):
        return _of_array(images.array(body, NAME), NAME, model)
    if model.is_picture:
        return [images.whole(body, NAME)]
    return images.fit(body, model.shape, NAME, pixels=model.pixels)[None]


@lru_cache(maxsize=64)  # a client's requests have one
def _is_json(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == "application/json"


def _of_json(body: bytes | bytearray, model: Exported) -> Inputs:
    try:
        found = atomic_files.parse_json(body)
    except ValueError as error:
        raise DataError(NAME, f"is no JSON ({error})", _FORMS) from error
    items = found.get("instances") if isinstance(found, dict) else found
    if not isinstance(items, list) or not items:
        raise DataError(f"{NAME}.instances", "is no list of inputs", 'send {"instances": [...]}')
    _check_count(len(items), f"{NAME}.instances")
    if model.is_picture:
        return [images.whole(_bytes(each, f"instances[{n}]"), NAME) for n, each in enumerate(items)]
    return np.stack([_item(each, f"instances[{n}]", model) for n, each in enumerate(items)])


def _bytes(item: Any, name: str) -> bytes:
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (KeyError, TypeError, ValueError, IndexError, binascii.Error) as error:
        raise DataError(name, "has no b64 with bytes in Base64", _FORMS) from error


def _item(item: Any, name: str, model: Exported) -> NDArray[np.float32]:
    if isinstance(item, dict):
        return images.fit(_bytes(item, name), model.shape, name, pixels=model.pixels)
    try:
        array = np.asarray(item, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(name, "is no array of numbers", f"give numbers, {model.shape}") from error
    return images.matching(array, model.shape, model.pixels, name)


def _of_array(array: NDArray[Any], name: str, model: Exported) -> Inputs:
    """Return the inputs of an array of one, or of a batch."""
    if model.is_picture:
        return _pictures(array, name)
    if array.ndim == len(model.shape) + 1:
        if not len(array):
            raise DataError(name, "has no input", "send one at least")
        _check_count(len(array), name)
        return images.matching(array, (len(array), *model.shape), model.pixels, name)
    return images.matching(array, model.shape, model.pixels, name)[None]


def _pictures(array: NDArray[Any], name: str) -> Sequence[NDArray[np.uint8]]:
    if array.ndim != 4:
        return [images.matching_whole(array, name)]
    if not len(array):
        raise DataError(name, "has no input", "send one at least")
    _check_count(len(array), name)
    return [images.matching_whole(each, name) for each in array]


def _check_count(count: int, name: str) -> None:
    if count > MOST:
        raise DataError(name, f"has {count} inputs, and {MOST} are the most", "send fewer at once")
