"""How a base is computed from images, as numbers: everything that decides its bits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(ge=1, le=4096)]


class Recipe(BaseModel):
    """The settings of `filters.learn` and of the graph that comes of it.

    Attributes:
        filters: K, found by k-means of patches.
        patch: a side of a patch, in pixels; of a signal, steps.
        stride: between two patches.
        grid: each filter's answers are averaged over so many parts of a side.
        dims: D, of a feature.
        images: that the filters and the directions come from.
        patches: drawn from them.
        rounds: of k-means.
        offset: added to a patch's variance before it is divided by its root.
        whitening: added to the variances before patches are whitened.
        threshold: below which an answer is nothing.
        mirrored: features are the mean of an image's and its mirror image's.
        seed: of all draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: Whole = 96
    patch: Annotated[int, Field(ge=2, le=64)] = 6
    stride: Annotated[int, Field(ge=1, le=64)] = 1
    grid: Annotated[int, Field(ge=1, le=16)] = 3
    dims: Whole = 64
    images: Annotated[int, Field(ge=10, le=100_000)] = 1000
    patches: Annotated[int, Field(ge=100, le=1_000_000)] = 6000
    rounds: Annotated[int, Field(ge=1, le=100)] = 8
    offset: Annotated[float, Field(gt=0, le=100)] = 0.05
    whitening: Annotated[float, Field(gt=0, le=100)] = 0.1
    threshold: Annotated[float, Field(ge=0, le=100)] = 0.25
    mirrored: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


Kind = Literal["image", "signal"]


def kind_of(shape: tuple[int, ...]) -> Kind:
    """Tell images from signals by the shape of one input, channels first."""
    return "image" if len(shape) == 3 and shape[1] > 1 else "signal"


def suitable(shape: tuple[int, ...], classes: int = 10, **asked: object) -> Recipe:
    """Return the recipe for inputs of a shape, where nobody says otherwise.

    Args:
        shape: of one input, channels first.
        classes: that are to be told apart: more want more dimensions.
        asked: fields of `Recipe`; None leaves one as it is.

    Raises:
        ValidationError: if a field is out of range.
    """
    grey = shape[0] == 1
    dims = 64 if grey and classes <= 20 else 128 if classes <= 20 else 256
    chosen: dict[str, object] = {"dims": dims, "stride": 1 if grey and max(shape) <= 28 else 2}
    if kind_of(shape) == "signal":
        chosen |= {"patch": 16, "stride": 2, "grid": 8, "dims": 128}
    elif max(shape) > 64:
        chosen["stride"] = max(shape) // 32
    given = {name: value for name, value in asked.items() if value is not None}
    return Recipe.model_validate({**chosen, **given})
