"""A base from a generator's images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop import bases
from edgeloop.bases import building, exact, filters, graph, manifest
from edgeloop.bases.recipe import BaseRecipe, default_recipe
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError, GeneratorError
from edgeloop.generator import Generator, Images, Latents

SMALL = BaseRecipe(filters=6, dims=5, images=40, patch=4)
DEEP = BaseRecipe(filters=6, second=5, dims=5, images=40, patch=4, mirrored=True, varied=True)


class Noisy:
    """A generator whose images are drawn from its latents."""

    identity = "0" * 64
    latent_dim = 3

    def __init__(self, shape: tuple[int, ...] = (1, 12, 12), spread: int = 256) -> None:
        self.shape = shape
        self._spread = spread

    def sample_latents(self, count: int, seed: int) -> Latents:
        return np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)

    def normalise(self, latents_NH: Latents) -> Latents:
        return latents_NH

    def synthesize(self, latents_NH: Latents) -> Images:
        seeds = np.abs(latents_NH[:, 0] * 1e6).astype(np.int64)
        draws = (np.random.default_rng(seed) for seed in seeds)
        return np.stack([each.integers(0, self._spread, self.shape, np.uint8) for each in draws])


def made(
    shape: tuple[int, ...], recipe: BaseRecipe = SMALL, generator: Generator | None = None
) -> Base:
    return Base(building.graph_of_generator(generator or Noisy(), shape, recipe, lambda text: None))


@pytest.mark.parametrize(
    "shape", [(1, 12, 12), (3, 12, 12), (3, 20, 14), (9, 1, 32), (3, 40), (1, 5, 5)]
)
def test_images_and_signals_of_many_shapes(shape: tuple[int, ...]) -> None:
    base = made(shape)
    assert (base.shape, base.dims) == (shape, 5)
    inputs = np.random.default_rng(0).standard_normal((7, *shape)).astype(np.float32)
    assert base.features(inputs).shape == (7, 5)


@pytest.mark.parametrize("recipe", [SMALL, SMALL.model_copy(update={"mirrored": True}), DEEP])
def test_the_graph_computes_what_the_filters_say(recipe: BaseRecipe) -> None:
    images = building.generated_inputs(Noisy((3, 12, 12)), (3, 12, 12), recipe)
    found = filters.learn(images, recipe)
    base = Base(graph.graph_of_filters(found, (3, 12, 12)))
    raw = filters.raw(images / 127.5 - 1, recipe, found.first, found.second)
    expected = (raw - found.centre_F) @ found.project_FD
    features = base.features((images / 127.5 - 1).astype(np.float32))
    assert np.abs(features - expected).max() < 1e-4
    assert np.allclose(features.mean(0), 0, atol=1e-4)
    assert np.allclose(features.var(0, ddof=1), base.variances_D, rtol=0.05)
    assert base.variances_D.mean() == pytest.approx(1, abs=1e-4)
    turned = base.features((images[..., ::-1] / 127.5 - 1).astype(np.float32))
    assert np.allclose(turned, features, atol=1e-4) == recipe.mirrored


def test_the_same_twice_and_another_seed() -> None:
    first, again = made((1, 12, 12)), made((1, 12, 12))
    assert first.identity == again.identity
    other = made((1, 12, 12), SMALL.model_copy(update={"seed": 1}))
    assert other.identity != first.identity


def test_a_collapsed_generator_is_said() -> None:
    with pytest.raises(GeneratorError, match=r"images are all alike .* has not collapsed"):
        made((1, 12, 12), generator=Noisy(spread=1))


def test_more_dimensions_than_there_are_are_said() -> None:
    with pytest.raises(BaseError, match="make 108 numbers, fewer than 200 dimensions"):
        made((1, 12, 12), SMALL.model_copy(update={"dims": 200}))
    with pytest.raises(BaseError, match=r"vary in \d+ directions only; ask for fewer --dims"):
        made((1, 12, 12), SMALL.model_copy(update={"dims": 60}))


def test_more_dimensions_than_images_are_said_before_the_projection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reached(*args: object) -> None:
        pytest.fail("the long computation has begun")

    monkeypatch.setattr(exact, "principal", reached)
    with pytest.raises(BaseError, match="vary in 39 directions only; ask for fewer --dims"):
        made((1, 12, 12), SMALL.model_copy(update={"dims": 40}))


@pytest.mark.parametrize(
    ("shape", "asked", "problem"),
    [
        ((1, 28, 28), {"patch": 18}, "1 channels of 18 x 18 are 324 numbers"),
        ((3, 28, 28), {"patch": 11}, "3 channels of 11 x 11 are 363 numbers"),
        ((24, 64), {"patch": 16}, "24 channels of 1 x 16 are 384 numbers"),
    ],
)
def test_what_would_take_hours_is_refused_before_they_have_passed(
    shape: tuple[int, ...],
    asked: dict[str, int],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reached(images: Images, recipe: BaseRecipe) -> None:
        pytest.fail("the long computation has begun")

    monkeypatch.setattr(filters, "learn", reached)
    with pytest.raises(ConfigError, match=problem):
        made(shape, SMALL.model_copy(update=asked), Noisy((3, 28, 28)))


@pytest.mark.parametrize("shape", [(1, 2, 8), (9, 64), (3, 1, 64), (1, 8, 1)])
def test_a_second_layer_has_pixels_to_mirror(shape: tuple[int, ...]) -> None:
    """Or the graph could not be run where the filters can."""
    with pytest.raises(ConfigError, match=r"second: a second layer needs 3 x 3 pixels or more"):
        made(shape, SMALL.model_copy(update={"second": 4}), Noisy((3, 28, 28)))


def windows(size: float) -> Any:
    drawn = np.random.default_rng(0).standard_normal((80, 3, 1, 32))
    return (size * drawn).astype(np.float32)


def test_windows_that_single_precision_cannot_scale_are_told() -> None:
    with pytest.raises(BaseError, match=r"no larger than .*e-42, which single precision cannot"):
        building.graph_of_inputs(windows(1e-42), (3, 1, 32), SMALL)
    small = Base(building.graph_of_inputs(windows(1e-30), (3, 1, 32), SMALL))
    assert np.ptp(small.features(windows(1e-30))) > 1


def test_windows_of_which_nearly_all_is_zero_are_not_all_zero() -> None:
    few, sparse = SMALL.model_copy(update={"dims": 2}), np.zeros((80, 3, 1, 400), np.float32)
    sparse[np.arange(80), 0, 0, np.arange(80)] = np.linspace(1, 2, 80)
    base = Base(building.graph_of_inputs(sparse, (3, 1, 400), few))
    assert np.ptp(base.features(sparse)) > 0
    with pytest.raises(BaseError, match="are all zero"):
        building.graph_of_inputs(np.zeros_like(sparse), (3, 1, 400), SMALL)


@pytest.mark.parametrize(
    ("channels", "patch"), [(1, 16), (9, 16), (10, 16), (12, 13), (64, 2), (150, 2)]
)
def test_a_signals_patch_is_shorter_where_channels_are_many(channels: int, patch: int) -> None:
    recipe = default_recipe((channels, 128))
    assert recipe.patch == patch
    assert channels * recipe.patch <= building.MOST_NUMBERS


def test_inputs_of_five_colours_are_refused() -> None:
    with pytest.raises(BaseError, match="5 colours"):
        made((5, 12, 12))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"filters: 0 is too small; give 1 or more"):
        building.recipe_for((1, 28, 28), filters=0)
    with pytest.raises(ConfigError, match="patch"):
        building.recipe_for((1, 28, 28), patch="wide")


def test_recipes_by_shape() -> None:
    assert (
        default_recipe((1, 28, 28)).dims
        < default_recipe((3, 32, 32)).dims
        < default_recipe((3, 32, 32), 100).dims
    )
    assert default_recipe((3, 128, 128)).stride > default_recipe((3, 32, 32)).stride
    assert default_recipe((9, 1, 128)).patch != default_recipe((1, 28, 28)).patch
    assert default_recipe((1, 28, 28), dims=7, filters=None).dims == 7


def test_the_automatic_one_is_kept_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path))
    monkeypatch.setattr(building, "recipe_for", lambda shape, classes: SMALL)
    told: list[str] = []
    first = building.load_or_compute(Noisy(), (1, 12, 12), 3, told.append)
    assert told
    told.clear()
    assert building.load_or_compute(Noisy(), (1, 12, 12), 3, told.append).identity == first.identity
    assert not told
    (place,) = bases.store().iterdir()
    facts, content = manifest.read(place)
    assert (facts.dims, facts.shape, facts.generator) == (5, (1, 12, 12), "0" * 64)
    (place / manifest.GRAPH).write_bytes(content[:-1])
    with pytest.raises(BaseError, match="SHA-256 is another"):
        Base.read(place)
    assert building.load_or_compute(Noisy(), (1, 12, 12), 3, told.append).identity == first.identity
    assert told
    assert Base.read(place).identity == first.identity


def test_the_automatic_one_needs_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "recipe_for", lambda shape, classes: SMALL)
    home = tmp_path / "home"
    home.write_text("a file, where no folder can be made")
    monkeypatch.setenv("EDGELOOP_HOME", str(home))
    assert building.load_or_compute(Noisy(), (1, 12, 12), 3, lambda text: None).graph
