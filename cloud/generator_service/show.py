"""A generator's facts, and a picture of what it makes: samples, and averages of latents.

Shape suffixes: N samples, H entries of a latent.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgeloop import generators
from edgeloop.errors import ConfigError
from edgeloop.generator import Generator, Images
from edgeloop.generators import manifest
from edgeloop.generators.diffusion import SCHEME
from edgeloop.generators.manifest import PARTS

AVERAGED = (2, 4, 16, 64, 1000)
"""How many latents the averages are of: FedKTL's centroids are, or come near, averages."""

_SMALLEST = 64
_LINE = 14
_GAP = 2
_WHITE = 255


def facts(reference: str, generator: Generator) -> list[tuple[str, str]]:
    """Return what there is to know of a generator, as names and values."""
    shape = " x ".join(map(str, generator.shape))
    known = [
        ("identity", generator.identity),
        ("latent entries", str(generator.latent_dim)),
        ("image", f"{shape} (channels, height, width)"),
    ]
    if generators.is_of_others(reference):
        return [*known, ("from", generators.origin(reference))]
    if reference.startswith((generators.TRITON, SCHEME)):
        return [*known, ("where", reference)]
    folder = generators.folder_of(reference)
    described = manifest.read(folder)
    size = sum((folder / part).stat().st_size for part in PARTS)
    return [
        ("title", described.title),
        ("source", described.source or "not stated"),
        ("licence", described.licence or "not stated"),
        *known,
        ("classes", str(described.classes) if described.classes else "none"),
        ("size", f"{size / 1e6:.1f} MB"),
        ("where", str(folder)),
    ]


def name_of(reference: str) -> str:
    """Return what a generator's files may be called by."""
    last = reference.partition("?")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return last.strip(".") or "generator"


def draw(generator: Generator, path: Path, count: int, seed: int) -> None:
    """Draw samples, and below them the images of averages of latents.

    Args:
        generator: any.
        path: of the picture, a PNG.
        count: how many samples.
        seed: that they are drawn from.

    Raises:
        ConfigError: if the picture cannot be written.
    """
    check(path)
    latents_NH = generator.sample_latents(max(count, *AVERAGED), seed)
    means_NH = np.stack([latents_NH[:number].mean(axis=0) for number in AVERAGED])
    samples = _enlarged(generator.synthesize(latents_NH[:count]))
    means = _enlarged(generator.synthesize(means_NH.astype(np.float32)))
    columns = max(math.ceil(math.sqrt(count)), len(AVERAGED))
    titles = [f"mean of {number}" for number in AVERAGED]
    drawn = [_rows(samples, columns), _titled(means, titles, columns)]
    try:
        Image.fromarray(np.concatenate(drawn)).save(path, "PNG")
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror})"
        raise ConfigError("--out", problem, "name another file") from error


def check(path: Path) -> None:
    """Refuse a picture's name that is not one.

    Raises:
        ConfigError: if it does not end in .png, or its folder is not there.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError("--out", f"{path} is no PNG file's name", "let it end in .png")
    if not path.parent.is_dir():
        raise ConfigError("--out", f"the folder {path.parent} is not there", "make it first")


def _enlarged(images: Images) -> Images:
    """Make images coloured, the channels last, and small ones larger."""
    times = max(1, _SMALLEST // images.shape[3])
    coloured = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)
    return coloured.repeat(times, axis=1).repeat(times, axis=2)


def _rows(images: Images, columns: int) -> NDArray[np.uint8]:
    """Lay images out in rows, with gaps."""
    height, width = images.shape[1] + _GAP, images.shape[2] + _GAP
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height, columns * width, 3), _WHITE, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height - _GAP, left : left + width - _GAP] = image
    return sheet


def _titled(images: Images, titles: list[str], columns: int) -> NDArray[np.uint8]:
    """Lay one row of images out, each with a title above it."""
    row = _rows(images, columns)
    line = Image.new("RGB", (row.shape[1], _LINE), (_WHITE,) * 3)
    for index, title in enumerate(titles):
        place = (index * (images.shape[2] + _GAP), 1)
        ImageDraw.Draw(line).text(place, title, fill=(0, 0, 0))
    return np.concatenate([np.asarray(line), row])
