"""Computes a base from a generator's images, and keeps it; needs `onnx`.

Shape suffixes: N images.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from edgeloop import bases
from edgeloop.bases import filters, graph, manifest, placing
from edgeloop.bases.filters import Filters
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.recipe import BaseRecipe, default_recipe, kind_of
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError, GeneratorError, RunError
from edgeloop.generator import Generator, Images
from edgeloop.runtime import wording

log = logging.getLogger(__name__)

BATCH_SIZE = 100
MIN_IMAGES = 50
"""Samples that a base is computed from, at least."""
MOST_NUMBERS = 300
"""Of a patch: its whitening takes time by their cube or more, a minute or so for these."""
_LEAST_SPREAD = 2.0
"""Of 255: the mean standard deviation of a pixel over images; below it they are all one image."""

_LEAST_SIZE = 1e-37
"""Of windows: what scales smaller ones is no number in single precision."""

Say = Callable[[str], None]


def recipe_for(shape: tuple[int, ...], classes: int = 10, **asked: object) -> BaseRecipe:
    """Return the recipe for inputs of a shape.

    Raises:
        ConfigError: if a setting is out of range.
    """
    try:
        return default_recipe(shape, classes, **asked)
    except ValidationError as error:
        place, problem, remedy = wording.first_finding(error.errors())
        raise ConfigError(str(place[0]), problem, remedy) from error


def graph_of_generator(
    generator: Generator, shape: tuple[int, ...], recipe: BaseRecipe, say: Say = log.info
) -> bytes:
    """Return the graph of a base, computed from a generator's images.

    The same images give the same bytes on every machine.

    Args:
        generator: whose images.
        shape: of one input of the clients, channels first.
        recipe: how.
        say: called with what is being done.

    Raises:
        BaseError: if the recipe does not fit the shape.
        GeneratorError: if it makes one image only, or cannot be reached.
    """
    say(f"draws {recipe.images} images of the generator")
    images = generated_inputs(generator, shape, recipe)
    spread = float(images.astype(np.float32).std(0).mean())
    if spread < _LEAST_SPREAD:
        problem = f"its images are all alike (a pixel's deviation is {spread:.2f} of 255)"
        raise GeneratorError("generator", problem, "choose one that has not collapsed")
    return graph.graph_of_filters(_learned(images, recipe, say), shape)


def graph_of_inputs(
    inputs: NDArray[np.float32], shape: tuple[int, ...], recipe: BaseRecipe, say: Say = log.info
) -> bytes:
    """Return the graph of a base, computed from inputs such as public sensor windows.

    Args:
        inputs: (N, *shape), as clients' models read them.
        shape: of one input.
        recipe: how.
        say: called with what is being done.

    Raises:
        BaseError: if the recipe does not fit the shape, or the inputs are no finite numbers, too
            few, or all alike.
    """
    if not np.isfinite(inputs).all():
        raise BaseError("inputs", "have NaN or infinity in them", "leave those samples out")
    if len(inputs) < MIN_IMAGES:
        problem = f"{len(inputs)} samples, and a base wants {MIN_IMAGES} or more"
        raise BaseError("inputs", problem, "give more data")
    sizes = np.abs(inputs)
    largest = float(np.quantile(sizes, 0.999) or sizes.max())  # nearly all may be zero
    if not largest:
        raise BaseError("inputs", "are all zero", "give other data")
    if largest < _LEAST_SIZE:
        problem = f"are no larger than {largest:.3g}, which single precision cannot scale to 1"
        raise BaseError("inputs", problem, "give them in another unit")
    scaled = np.clip(inputs / largest, -1, 1)
    sides = (shape[0], 1, -1) if kind_of(shape) == "signal" else shape
    images = np.rint((scaled + 1) * 127.5).astype(np.uint8).reshape(len(inputs), *sides)
    return graph.graph_of_filters(_learned(images, recipe, say), shape, 1 / largest)


def _learned(images: Images, recipe: BaseRecipe, say: Say) -> Filters:
    _check_patch(images, recipe)
    _check_second(images, recipe)
    say(f"finds {recipe.filters} filters and {recipe.dims} directions")
    try:
        return filters.learn(images, recipe)
    except ValueError as error:
        raise BaseError("base", f"cannot be computed: {error}", "ask for fewer --dims") from error


def _check_patch(images: Images, recipe: BaseRecipe) -> None:
    """Refuse a patch of so many numbers that its whitening would take hours."""
    patch = [min(recipe.patch, side) for side in images.shape[2:]]
    numbers = images.shape[1] * patch[0] * patch[1]
    if numbers > MOST_NUMBERS:
        size = f"{images.shape[1]} channels of {patch[0]} x {patch[1]}"
        problem = f"{size} are {numbers} numbers, and a patch has at most {MOST_NUMBERS}"
        raise ConfigError("patch", problem, "give a smaller --patch, or fewer channels")


def _check_second(images: Images, recipe: BaseRecipe) -> None:
    """Refuse a second layer on inputs around which not enough pixels can be mirrored."""
    height, width = images.shape[2:]
    if recipe.second and min(height, width) <= filters.LOW_PAD:
        least = filters.LOW_PAD + 1
        size = f"inputs of {height} x {width}" if height > 1 else "signals"
        problem = f"a second layer needs {least} x {least} pixels or more, and has {size}"
        raise ConfigError("second", problem, "give --second 0")


def as_inputs(images: Images, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return pixels as clients' models read them: (N, *shape) in [-1, 1]."""
    return (images.astype(np.float32) / 127.5 - 1).reshape(len(images), *shape)


def generated_inputs(generator: Generator, shape: tuple[int, ...], recipe: BaseRecipe) -> Images:
    """Return a generator's images (N, channels, height, width) as the clients' inputs are."""
    latents = generator.sample_latents(recipe.images, recipe.seed)
    draw = np.random.default_rng([recipe.seed, 1])
    parts = []
    for start in range(0, len(latents), BATCH_SIZE):
        images = generator.synthesize(latents[start : start + BATCH_SIZE])
        varied = [_varied(each, draw) for each in images] if recipe.varied else images
        parts += [fit_to_shape(np.asarray(each)[None], shape) for each in varied]
    return np.concatenate(parts)


def drawn_inputs(generator: Generator, shape: tuple[int, ...], recipe: BaseRecipe) -> Images:
    """Return what `generated_inputs` does; of other than 1 or 3 colours a grey image for each."""
    if kind_of(shape) == "signal" or shape[0] in (1, 3):
        return generated_inputs(generator, shape, recipe)
    many = recipe.model_copy(update={"images": recipe.images * shape[0]})
    return generated_inputs(generator, (1, *shape[1:]), many).reshape(-1, *shape)


def _varied(image: NDArray[np.uint8], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image zoomed, mirrored, turned, its colours exchanged, or its negative."""
    smaller = min(image.shape[1:])
    side = int(draw.integers(smaller // 2, smaller + 1))
    top, left = draw.integers(0, np.array(image.shape[1:]) - side + 1)
    image = image[:, top : top + side, left : left + side]
    if draw.integers(2):
        image = image[..., ::-1]
    image = np.rot90(image, int(draw.integers(4)), (1, 2))
    image = image[draw.permutation(len(image))]
    found: NDArray[np.uint8] = 255 - image if draw.integers(2) else image
    return found


def fit_to_shape(images: Images, shape: tuple[int, ...]) -> Images:
    """Return images in a shape's colours and size; a signal reads a grey image row after row.

    Pillow's resizing is whole-numbered, so that it has the same bits everywhere.
    """
    if kind_of(shape) == "image":
        height, width, grey = shape[1], shape[2], shape[0] == 1
    else:
        height, width, grey = shape[0], int(np.prod(shape[1:])), True
    rows = [_resized(each, (width, height), grey) for each in images]
    whole: Images = np.stack(rows)
    if kind_of(shape) == "signal":
        return whole.reshape(len(images), shape[0], 1, -1)
    if shape[0] not in (1, 3):
        raise BaseError("base", f"inputs of {shape[0]} colours", "import a base made for them")
    return whole


def _resized(image: NDArray[np.uint8], size: tuple[int, int], grey: bool) -> NDArray[np.uint8]:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("L" if grey else "RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    found: NDArray[np.uint8] = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
    return found


def load_or_compute(
    generator: Generator, shape: tuple[int, ...], classes: int, say: Say = log.info
) -> Base:
    """Return the base for inputs of a shape: from the store, or computed and kept there if it can.

    Args:
        generator: whose images.
        shape: of one input of the clients.
        classes: to tell apart.
        say: called with what is being done.
    """
    recipe = recipe_for(shape, classes)
    name = bases.cache_name(generator.identity, recipe.model_dump_json(), shape)
    place = None
    try:
        place = bases.store() / name
        if (place / manifest.MANIFEST).is_file():
            return Base.read(place)
    except (BaseError, ConfigError, OSError) as error:
        log.debug("no base is taken from the store: %s", error)  # damaged, or there is no home
    made = graph_of_generator(generator, shape, recipe, say)
    if place is not None:
        _keep(place, made, shape, recipe, generator.identity)
    return Base(made, name)


def _keep(
    place: Path, made: bytes, shape: tuple[int, ...], recipe: BaseRecipe, generator: str
) -> None:
    try:
        write_base(place, made, shape, recipe, generator)
    except RunError as error:  # a container whose root can only be read
        log.info("the base could not be kept, and is computed again next time: %s", error)


def write_base(
    place: Path,
    made: bytes,
    shape: tuple[int, ...],
    recipe: BaseRecipe,
    generator: str,
    source: str = "computed from a generator's images",
) -> Manifest:
    """Write a computed base to a folder, which appears whole or not at all.

    Raises:
        RunError: if the folder cannot be written.
    """
    return placing.put(
        place,
        made,
        ".computed-",
        lambda found: found.sha256 == manifest.digest(made),
        name=place.name,
        title=f"{recipe.filters} filters, {recipe.dims} dimensions",
        source=source,
        licence="as what it was computed from",
        shape=shape,
        dims=recipe.dims,
        generator=generator,
        recipe=json.loads(recipe.model_dump_json()),
    )
