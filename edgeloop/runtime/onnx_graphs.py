"""What is in an ONNX file, without running it, and without the package onnx.

A graph that somebody else wrote may loop as often as it says: 2^62 times is as good as forever. No
extractor, generator or classifier needs that; without loops a run ends when its nodes are through.

The format is protobuf's: a field is a varint (number * 8 + type), then a varint (type 0), 8 bytes
(1), a varint and so many bytes (2), or 4 bytes (5).
"""

from collections.abc import Iterator

LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
"""ONNX's operators that run a graph as often as a number or a sequence says."""
SEARCHES = frozenset({"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"})
"""onnxruntime's own that do."""

_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}
"""By the kind of a message, which of its fields lead to nodes, also those of inner graphs."""

_ORT = b"ORTM"  # of onnxruntime's own format, which is no protobuf


def check(content: bytes) -> None:
    """Refuse an ONNX file with a loop in it.

    Args:
        content: the file's bytes.

    Raises:
        ValueError: naming the operator, or saying that it is no ONNX file.
    """
    if content[4:8] == _ORT:
        raise ValueError("it is in onnxruntime's own format, not ONNX")
    for operator in operators(content):
        if operator in LOOPS | SEARCHES:
            raise ValueError(f"its operator {operator} may run for ever")


def operators(content: bytes) -> Iterator[str]:
    """Yield the operator of each node, those of functions and inner graphs among them.

    Raises:
        ValueError: if it is no ONNX file.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            inside = _INSIDE[kind].get(number)
            if inside == "operator":
                yield bytes(value).decode("utf-8", "replace")
            elif inside is not None:
                waiting.append((inside, value))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field that has a length."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, form = key >> 3, key & 7
        if not number:
            raise ValueError("it is no ONNX file")
        if form == 0:
            _, place = _varint(message, place)
            continue
        length = {1: 8, 5: 4}.get(form, 0)
        if form == 2:
            length, place = _varint(message, place)
        elif not length:
            raise ValueError("it is no ONNX file")
        if place + length > len(message):
            raise ValueError("it is no ONNX file, or not all of one")
        if form == 2:
            yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    found = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, place
    raise ValueError("it is no ONNX file, or not all of one")
