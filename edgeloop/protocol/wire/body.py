"""A body's tensors: safetensors, whose head is read once for all bodies that have the same one.

The answers of a round differ in their numbers and hardly ever in their heads. What safetensors has
found right in one body is so in every other one with the same head and of the same length.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors

from edgeloop.protocol.wire.errors import FieldsError

Raw = Mapping[str, Any]
"""A tensor as safetensors tells of it: shape, dtype, data."""

MOST_LAYOUTS = 64
LONGEST_HEAD = 16_384
"""Bytes of a head that is kept, and how many are: a peer that sends ever new ones fills no more."""

_SIZE = 8  # bytes of a head's length, little-endian


class _Tensor(NamedTuple):
    """Where a tensor is in a body."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


_layouts: dict[tuple[bytes, int], tuple[_Tensor, ...]] = {}


def unpack(body: bytes | memoryview) -> dict[str, Raw]:
    """Return a body's tensors by name.

    Raises:
        FieldsError: it is no safetensors.
    """
    start = _SIZE + int.from_bytes(body[:_SIZE], "little")
    key = bytes(body[:start]) if start <= LONGEST_HEAD else b"", len(body)
    layout = _layouts.get(key)
    if layout is None:
        return _first(bytes(body), key)
    return {
        name: {"dtype": dtype, "shape": shape, "data": bytearray(body[begin:end])}
        for name, dtype, shape, begin, end in layout
    }


def _first(body: bytes, key: tuple[bytes, int]) -> dict[str, Raw]:
    """Return the tensors of a body as safetensors reads it, and keep where they are."""
    try:
        tensors: dict[str, Raw] = dict(safetensors.deserialize(body))  # type: ignore[no-untyped-call]  # a Rust function
    except safetensors.SafetensorError as error:
        raise FieldsError(f"no safetensors: {error}") from error
    if key[0]:
        layout = _layout(key[0], tensors)
        if _agrees(layout, body, tensors):
            if len(_layouts) >= MOST_LAYOUTS:
                _layouts.clear()
            _layouts[key] = layout
    return tensors


def _layout(head: bytes, tensors: Mapping[str, Raw]) -> tuple[_Tensor, ...]:
    """Return where a head, which safetensors has found right, says that tensors are."""
    entries = json.loads(head[_SIZE:])
    return tuple(
        _Tensor(
            name,
            raw["dtype"],
            tuple(raw["shape"]),
            *(len(head) + offset for offset in entries[name]["data_offsets"]),
        )
        for name, raw in tensors.items()
    )


def _agrees(layout: tuple[_Tensor, ...], body: bytes, tensors: Mapping[str, Raw]) -> bool:
    """Return whether the tensors are where a layout has them, in a body that it is made of."""
    return all(body[each.begin : each.end] == tensors[each.name]["data"] for each in layout)
