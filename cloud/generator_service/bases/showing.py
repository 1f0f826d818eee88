"""A base's facts, what it costs, and a picture of its filters."""

import math
import time
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from edgeloop.bases.manifest import Manifest
from edgeloop.bases.running import BATCH_SIZE, Base
from edgeloop.errors import ConfigError

_LARGEST = 64  # pixels of a filter's side that is drawn
_SIDE, _GAP, _WHITE = 36, 2, 255


def base_facts(manifest: Manifest, graph: bytes, base: Base) -> list[tuple[str, str]]:
    """Return what there is to know of a base, as names and values."""
    recipe = ", ".join(f"{name} {value}" for name, value in manifest.recipe.items())
    milliseconds = 1000 * _seconds(base)
    pairs = base.dims * (base.dims + 1) // 2
    upload = 2 * (pairs + 10 * base.dims)
    return [
        ("title", manifest.title),
        ("source", manifest.source or "not stated"),
        ("licence", manifest.licence or "not stated"),
        ("identity", manifest.identity),
        ("inputs", " x ".join(map(str, manifest.shape)) + " (channels first)"),
        ("dimensions", str(manifest.dims)),
        ("generator", manifest.generator or "none"),
        ("recipe", recipe or "imported"),
        ("size", f"{len(graph) / 1e6:.2f} MB, fetched once by a device"),
        ("time", f"{milliseconds:.2f} ms an input on one thread here"),
        ("upload", f"{upload / 1e3:.1f} KB with ten classes in half precision, once"),
    ]


def _seconds(base: Base) -> float:
    """Return the median time of an input."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(5):
        inputs = random.uniform(-1, 1, (BATCH_SIZE, *base.shape)).astype(np.float32)
        begun = time.perf_counter()
        base.features(inputs)
        found.append((time.perf_counter() - begun) / BATCH_SIZE)
    return sorted(found)[2]


def draw(graph: bytes, path: Path) -> bool:
    """Draw the filters of a base's first layer as a PNG; tell whether it has any to draw.

    Raises:
        ConfigError: if the picture cannot be written.
    """
    filters = _filters(graph)
    if filters is None:
        return False
    tiles = [_tile(each) for each in filters]
    columns = math.ceil(math.sqrt(len(tiles)))
    step = _SIDE + _GAP
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * step, columns * step, 3), _WHITE, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * step, index % columns * step
        sheet[top : top + _SIDE, left : left + _SIDE] = tile
    try:
        Image.fromarray(sheet).save(path, "PNG")
    except (OSError, ValueError) as error:
        problem = f"{path} cannot be written ({getattr(error, 'strerror', None) or error})"
        raise ConfigError("--out", problem, "name another file, ending in .png") from error
    return True


def _filters(graph: bytes) -> NDArray[np.float32] | None:
    """Return the kernels (K, channels, height, width) of the first layer that has several."""
    model = onnx.load_from_string(graph)
    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in constants:
            found: NDArray[np.float32] = numpy_helper.to_array(constants[node.input[1]])
            if found.ndim == 4 and len(found) > 1 and max(found.shape[2:]) <= _LARGEST:
                return found
    return None


def _tile(kernel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return one filter as a square picture: grey is 0, and the largest weight black or white."""
    colours = kernel if len(kernel) == 3 else kernel.reshape(1, -1, kernel.shape[2])
    if kernel.shape[1] == 1 and len(kernel) != 3:
        colours = kernel.reshape(1, len(kernel), kernel.shape[2])
    scaled = colours / max(float(np.abs(colours).max()), 1e-12)
    pixels = np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
