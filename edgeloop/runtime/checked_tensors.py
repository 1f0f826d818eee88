"""Files of arrays (safetensors) that tell when a byte of them is another: a SHA-256 in them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

SUM = "sha256"
"""The metadata's key of a file's checksum: of its arrays, and of what else its metadata say."""

_LENGTH = 8
_ALIGNED = 8
_METADATA = "__metadata__"
"""Of the format: bytes of its header's length, what a header is a multiple of, metadata's key."""

Tensors = Mapping[str, npt.NDArray[Any]]


def content(tensors: Tensors, facts: Mapping[str, str]) -> bytes:
    """Return a file's bytes: the same ones whenever the same is to be written.

    Args:
        tensors: its arrays, by name.
        facts: its metadata.
    """
    return in_order(save(dict(tensors), {**facts, SUM: digest(tensors, facts)}))


def in_order(file: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: the library's order is by chance."""
    begin = _LENGTH + int.from_bytes(file[:_LENGTH], "little")
    header = json.loads(file[_LENGTH:begin])
    header[_METADATA] = dict(sorted(header[_METADATA].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return len(text).to_bytes(_LENGTH, "little") + text + file[begin:]


def check(tensors: Tensors, metadata: Mapping[str, str] | None) -> None:
    """Refuse what is not as it was written; files of before 0.3 do not tell.

    Raises:
        ValueError: if it is not.
    """
    facts = dict(metadata or {})
    noted = facts.pop(SUM, None)
    if noted is not None and noted != digest(tensors, facts):
        raise ValueError("its checksum differs")


def digest(tensors: Tensors, facts: Mapping[str, str]) -> str:
    """Return the SHA-256 of arrays, whatever their order in a file, and of facts."""
    found = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
