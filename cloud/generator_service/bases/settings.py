"""What `edgeloop base build` is asked for."""

from typing import Annotated

from pydantic import Field

from edgeloop import generators
from edgeloop.bases import building, recipe
from edgeloop.bases.recipe import BaseRecipe
from edgeloop.data.pfllib import Layout
from edgeloop.runtime.config import Option, Settings


class BuildSettings(Settings):
    """What a base is computed from, and how."""

    name: str
    """Name of the base in the store."""
    shape: str
    """Shape of a client's input: channels x height x width, such as 3x32x32."""
    generator: str = generators.EMBEDDED
    """Generator whose images it is computed from; see edgeloop generator list."""
    windows: str | None = None
    """Compute it from this data instead: public sensor windows or images."""
    layout: Layout = "files"
    """Layout of the windows: files, or signal to undo interleaving."""
    classes: Annotated[int, Field(ge=2)] = 10
    """Number of classes that clients distinguish."""
    filters: recipe.Filters | None = None
    """Number of filters, found by k-means. [default: 96]"""
    second: recipe.SecondFilters | None = None
    """Number of filters in a second layer; 0 for none. [default: by shape]"""
    patch: recipe.Patch | None = None
    """Side length of a patch. [default: 6]"""
    stride: recipe.Stride | None = None
    """Distance between patches. [default: by shape]"""
    grid: recipe.Grid | None = None
    """Pooling cells along each side. [default: 3]"""
    dims: recipe.Dims | None = None
    """Feature dimensions. [default: by shape]"""
    images: recipe.Images | None = None
    """Number of images to compute it from. [default: 1000]"""
    mirrored: Annotated[bool | None, Option(name="--mirrored/--not-mirrored")] = None
    """Average the features with those of the mirrored image."""
    seed: recipe.Seed | None = None
    """Random seed. [default: 0]"""
    replace: Annotated[bool, Option(name="--replace/--no-replace")] = False
    """Replace a base of that name in the store."""

    def recipe_for(self, sides: tuple[int, ...]) -> BaseRecipe:
        """Return the recipe for inputs of a shape; what is not given follows from it.

        Raises:
            ConfigError: if a setting does not go with the others.
        """
        asked = self.model_dump(include=set(BaseRecipe.model_fields))
        return building.recipe_for(sides, self.classes, **asked)
