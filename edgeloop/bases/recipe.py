"""How a base is computed from images, as numbers: everything that decides its bits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SIGNAL_NUMBERS = 160
"""Of a signal's patch, all channels together, where nobody says how long it is."""

Filters = Annotated[int, Field(ge=1, le=4096)]
SecondFilters = Annotated[int, Field(ge=0, le=4096)]
Patch = Annotated[int, Field(ge=2, le=64)]
Stride = Annotated[int, Field(ge=1, le=64)]
Grid = Annotated[int, Field(ge=1, le=16)]
Dims = Annotated[int, Field(ge=1, le=4096)]
Images = Annotated[int, Field(ge=10, le=100_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class BaseRecipe(BaseModel):
    """The settings of `filters.learn` and of the graph that comes of it.

    Attributes:
        filters: of the first layer, found by k-means of patches.
        second: of a second layer; 0 for none.
        patch: a side of a patch, in pixels; of a signal, steps.
        stride: between two patches.
        grid: each filter's answers are averaged over so many parts of a side.
        dims: D, of a feature.
        images: that the filters and the directions come from.
        threshold: below which an answer of the first layer is nothing.
        mirrored: features are the mean of an image's and its mirror image's.
        varied: the generator's images are zoomed, turned, recoloured and made negative, each as
            it is drawn, so that they vary as other data does.
        seed: of all draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: Filters = 96
    second: SecondFilters = 0
    patch: Patch = 6
    stride: Stride = 1
    grid: Grid = 3
    dims: Dims = 64
    images: Images = 1000
    threshold: Annotated[float, Field(ge=0, le=100)] = 0.25
    mirrored: bool = False
    varied: bool = False
    seed: Seed = 0


Kind = Literal["image", "signal"]


def kind_of(shape: tuple[int, ...]) -> Kind:
    """Tell images from signals by the shape of one input, channels first."""
    return "image" if len(shape) == 3 and shape[1] > 1 else "signal"


def default_recipe(shape: tuple[int, ...], classes: int = 10, **asked: object) -> BaseRecipe:
    """Return the recipe for inputs of a shape, where nobody says otherwise.

    Args:
        shape: of one input, channels first.
        classes: to tell apart: more want more dimensions.
        asked: fields of `BaseRecipe`; None leaves one as it is.

    Raises:
        ValidationError: if a field is out of range.
    """
    chosen: dict[str, object] = {}
    if kind_of(shape) == "signal":
        patch = max(2, min(16, SIGNAL_NUMBERS // shape[0]))
        chosen = {"patch": patch, "stride": 2, "grid": 8, "dims": 128}
    elif min(shape[1:]) >= 24:
        stride = 1 if max(shape) <= 28 else max(2, max(shape) // 32)
        chosen = {"filters": 128, "second": 256, "threshold": 0.7, "mirrored": True}
        chosen |= {"varied": True, "images": 1200, "stride": stride}
        few, many = (200, 320) if shape[0] == 1 else (320, 640)
        chosen["dims"] = few if classes <= 20 else many
    else:
        chosen = {"dims": 64 if shape[0] == 1 else 128, "stride": 1 if shape[0] == 1 else 2}
    given = {name: value for name, value in asked.items() if value is not None}
    return BaseRecipe.model_validate({**chosen, **given})
