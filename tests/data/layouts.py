"""Writes tiny data sets in the layouts that their authors chose."""

import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def place(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def picture(value: int, size: tuple[int, int] = (4, 4), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255)).save(buffer, kind)
    return buffer.getvalue()


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def idx_pair(folder: Path, part: str, values: list[int], labels: list[int], packed: bool) -> None:
    """Images of 2 x 3 pixels that all have the given value."""
    images = np.repeat(np.array(values, np.uint8), 6).reshape(-1, 2, 3)
    files = {"images-idx3": images, "labels-idx1": np.array(labels, np.uint8)}
    for name, array in files.items():
        content = idx(array)
        path = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
        place(path, gzip.compress(content, mtime=0) if packed else content)


def python2(value: Any) -> bytes:
    """Pickle as Python 2 and its NumPy did: text and bytes are one type, protocol 2."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(k) + _python2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_python2, value)) + b"t"
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, str):
        return _python2(value.encode())
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    return _python2_array(value)


def _python2_array(array: NDArray[np.uint8]) -> bytes:
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _python2((0,))
    dtype = b"cnumpy\ndtype\n" + _python2(("u1", 0, 1)) + b"R(" + _python2(3) + _python2("|")
    dtype += b"NNN" + _python2(-1) + _python2(-1) + _python2(0) + b"tb"
    state = b"(" + _python2(1) + _python2(array.shape) + dtype + b"\x89" + _python2(array.tobytes())
    return empty + _python2("b") + b"tR" + state + b"tb"


def cifar10(folder: Path) -> None:
    """Six files of one image each; image k has the value k everywhere and the label k % 3."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for value, name in enumerate(names):
        data = np.full((1, 3072), value, np.uint8)
        batch = {"batch_label": "a batch", "labels": [value % 3], "data": data}
        place(folder / name, python2({**batch, "filenames": [f"{value}.png"]}))
    meta = {"num_cases_per_batch": 1, "label_names": ["plane", "car", "bird"], "num_vis": 3072}
    place(folder / "batches.meta", python2(meta))


def cifar100(folder: Path) -> None:
    for name, value in (("train", 200), ("test", 7)):
        data = np.arange(2 * 3072).reshape(2, 3072) % 256 if value == 200 else None
        images = np.full((2, 3072), 7, np.uint8) if data is None else data.astype(np.uint8)
        labels = {"fine_labels": [1, 0], "coarse_labels": [4, 4]}
        place(folder / name, python2({"data": images, **labels}))
    names = {"fine_label_names": ["apple", "bee"], "coarse_label_names": ["x"]}
    place(folder / "meta", python2(names))


def hostile() -> bytes:
    return pickle.dumps({"data": print, "labels": [1]}, protocol=2)


def matlab(arrays: dict[str, NDArray[Any]], packed: bool = True, order: str = "<") -> bytes:
    """Write a MATLAB 5 file; short names and numbers take the short form, as MATLAB's do."""
    mark = b"IM" if order == "<" else b"MI"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark
    return header + b"".join(_matrix(*each, packed, order) for each in arrays.items())


def _matrix(name: str, array: NDArray[Any], packed: bool, order: str) -> bytes:
    kinds = {"u1": (2, 9), "u2": (4, 11), "f8": (9, 6)}
    kind, matrix = kinds[array.dtype.str[1:]]
    content = (
        _element(6, struct.pack(f"{order}II", matrix, 0), order)
        + _element(5, struct.pack(f"{order}{array.ndim}i", *array.shape), order)
        + _element(1, name.encode(), order)
        + _element(kind, array.astype(order + array.dtype.str[1:]).tobytes(order="F"), order)
    )
    element = struct.pack(f"{order}II", 14, len(content)) + content
    if not packed:
        return element
    squeezed = zlib.compress(element)
    return struct.pack(f"{order}II", 15, len(squeezed)) + squeezed


def _element(kind: int, content: bytes, order: str) -> bytes:
    if len(content) <= 4:
        return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    padding = b"\0" * (-len(content) % 8)
    return struct.pack(f"{order}II", kind, len(content)) + content + padding


def flowers(folder: Path, packed: bool = True) -> None:
    """Five images; number k has the value 10 k and class 100 + k % 3, counted from 1."""
    for number in range(1, 6):
        content = picture(10 * number, (6, 3), "JPEG")
        place(folder / "jpg" / f"image_{number:05d}.jpg", content)
    labels = np.array([[101, 102, 100, 101, 102]], np.uint8)
    parts = {"trnid": [[5]], "valid": [[2, 1]], "tstid": [[3, 4]]}
    place(folder / "imagelabels.mat", matlab({"labels": labels}, packed))
    ids = {name: np.array(numbers, np.uint16) for name, numbers in parts.items()}
    place(folder / "setid.mat", matlab(ids, packed))
