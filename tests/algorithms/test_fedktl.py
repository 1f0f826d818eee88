"""FedKTL: the pairs it sends, whose generator it takes, its messages, its options."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms
from edgeloop.algorithms import fedktl
from edgeloop.algorithms.fedktl import Config
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generator import as_inputs
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge import latent_pairs
from edgeloop.knowledge.alignment import State
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.protocol import wire
from tests.algorithms.small_ktl import UPLOADS, small_config, small_generator, upload
from tests.generators.tiny import write_tiny

ENVELOPE = wire.Envelope("t", "r", 0, "aggregator")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return small_generator(tmp_path_factory.mktemp("small") / "generator")


@pytest.fixture
def config(generator: OnnxGenerator) -> Config:
    return small_config(generator)


def test_a_single_client_has_a_pair_for_every_class(
    generator: OnnxGenerator, config: Config
) -> None:
    config = dataclasses.replace(config, classes=10)
    algorithm = fedktl.build(config, generator)
    state, broadcast = algorithm.aggregate(algorithm.start()[0], [upload(*range(10), classes=10)])
    assert np.isfinite(state.centroids_CH).all()
    assert (broadcast.images_NP.shape, broadcast.latents_NH.shape) == ((10, 16), (10, 8))
    assert len(np.unique(broadcast.latents_NH, axis=0)) == 10


def test_images_are_made_of_the_latents_that_travel(generator: OnnxGenerator) -> None:
    far = np.array([[0.25, 1, 7], [3, 4, 1e6]], np.float32).reshape(3, 2).repeat(4, axis=1)
    sent = latent_pairs.generate_pairs(far, generator, (1, 5, 5))
    assert sent.latents_NH.dtype == np.float16
    lengths = np.linalg.norm(sent.latents_NH[:, :4].astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 2, rtol=1e-3)
    assert sent.latents_NH[:, 4:].tolist() == [[1.0] * 4, [3.0] * 4, [65504.0] * 4]
    made = generator.synthesize(sent.latents_NH.astype(np.float32))
    assert sent.images_NP.tolist() == as_inputs(made, (1, 5, 5)).reshape(3, 25).tolist()


def test_an_image_follows_the_rounding_of_its_latent(generator: OnnxGenerator) -> None:
    """Images of the centroids themselves would be others: the test above can tell."""
    random = np.random.default_rng(0)
    centroids = random.standard_normal((3, 8), np.float32) * np.float32(3)
    sent = latent_pairs.generate_pairs(centroids, generator, (3, 8, 8))
    exact = generator.synthesize(generator.normalise(centroids)).reshape(3, -1)
    assert (sent.images_NP != exact).any()
    assert np.abs(sent.images_NP - exact.astype(int)).max() <= 2


def test_another_generator_is_refused(
    generator: OnnxGenerator, config: Config, tmp_path: Path
) -> None:
    other = OnnxGenerator(write_tiny(tmp_path / "other", seed=1))
    with pytest.raises(GeneratorError) as caught:
        fedktl.build(config, other)
    assert caught.value.field == "generator"
    assert f"({other.identity[:12]})" in caught.value.problem
    assert f"({generator.identity[:12]})" in caught.value.problem
    assert caught.value.remedy == "bring the old one back, or start a new run"


def test_a_server_without_the_generator_says_so(config: Config) -> None:
    algorithm = fedktl.build(config)
    with pytest.raises(GeneratorError, match=r"^generator: the server has none; name one$"):
        algorithm.aggregate(algorithm.start()[0], UPLOADS)


def test_without_transfer_nothing_is_learned_and_no_pair_is_sent() -> None:
    config = Config(classes=3, width=5, shape=(1, 4, 4), transfer=0.0)
    algorithm = fedktl.build(config)
    first, _ = algorithm.start()
    state, broadcast = algorithm.aggregate(first, UPLOADS)
    assert not config.needs_generator
    assert (broadcast.images_NP.shape, broadcast.latents_NH.shape) == ((0, 16), (0, 1))
    assert wire.fingerprint(dataclasses.replace(state, rounds=0)) == wire.fingerprint(first)
    assert state.rounds == 1


def test_state_and_pairs_survive_the_wire_to_the_bit(
    generator: OnnxGenerator, config: Config
) -> None:
    algorithm = fedktl.build(config, generator)
    state, broadcast = algorithm.aggregate(algorithm.start()[0], UPLOADS)
    payload = wire.encode(ENVELOPE, state, broadcast)
    frame = wire.decode(payload, State, Pairs, sizes={"C": 3, "H": 8, "P": 16})
    assert wire.fingerprint(frame[Pairs]) == wire.fingerprint(broadcast)
    for field in dataclasses.fields(State):
        ours, theirs = (np.asarray(getattr(each, field.name)) for each in (state, frame[State]))
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    next_one, from_wire = (algorithm.aggregate(each, UPLOADS)[0] for each in (state, frame[State]))
    assert wire.fingerprint(next_one) == wire.fingerprint(from_wire)


@pytest.mark.parametrize("transfer", [50.0, 0.0])
def test_the_sizes_fit_every_message(
    generator: OnnxGenerator, config: Config, transfer: float
) -> None:
    algorithm = fedktl.build(dataclasses.replace(config, transfer=transfer), generator)
    state, nothing = algorithm.start()
    for message in (nothing, UPLOADS[0], *algorithm.aggregate(state, UPLOADS)):
        payload = wire.encode(ENVELOPE, message)
        wire.decode(payload, type(message), sizes=algorithm.sizes)


def test_aggregation_is_a_function_of_seed_state_and_uploads(
    generator: OnnxGenerator, config: Config
) -> None:
    def knowledge(seed: int) -> str:
        algorithm = fedktl.build(dataclasses.replace(config, seed=seed), generator)
        first, _ = algorithm.start()
        before = wire.fingerprint(first)
        state, broadcast = algorithm.aggregate(first, UPLOADS)
        assert wire.fingerprint(first) == before
        assert state.rounds == 1
        return wire.fingerprint(state) + wire.fingerprint(broadcast)

    assert knowledge(1) == knowledge(1) != knowledge(2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transfer", -1.0),
        ("transfer", float("inf")),
        ("pair_batch", 0),
        ("margin", -0.1),
        ("scale", 0.0),
        ("clip", 0.0),
        ("server_epochs", 0),
        ("server_lr", float("nan")),
        ("server_batch", 2.5),
        ("anchor", -1e-9),
        ("bandwidth", "mean"),
        ("latent_dim", 0),
        ("anchors", 1.0),
        ("centroids", "embedded"),
    ],
)
def test_a_wrong_option_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        algorithms.load("fedktl", classes=3, width=5, **{field: value})
    assert caught.value.field == field


def test_the_released_code_has_free_centroids_and_the_paper_means() -> None:
    info = algorithms.info("fedktl")
    assert algorithms.config("fedktl", classes=3, width=5).centroids == "free"
    assert info.variants["released"] == {}
    assert info.variants["paper"] == {"centroids": "means"}


@pytest.mark.parametrize("value", ["running", "exact"])
def test_what_it_has_no_more_says_what_to_do_instead(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^statistics: .*no more; leave it out.*means") as caught:
        algorithms.load("fedktl", classes=3, width=5, statistics=value)
    assert caught.value.field == "statistics"


MEASURES = {
    *("discrepancy", "discrepancy_floor", "distance", "prior_variance"),
    *("centroid_norm", "centroid_spread", "image_sharpness", "image_difference"),
}


def test_a_round_is_measured_beside_the_generators_own(
    generator: OnnxGenerator, config: Config
) -> None:
    algorithm = fedktl.build(config, generator)
    first, nothing = algorithm.start()
    assert algorithm.round_metrics(UPLOADS, first, nothing) == {}
    state, broadcast = algorithm.aggregate(first, UPLOADS)
    found = algorithm.round_metrics(UPLOADS, state, broadcast)
    assert set(found) == MEASURES
    own = generator.sample_latents(2000, 5)
    lengths = [np.linalg.norm(each, axis=1).mean() for each in (state.centroids_CH, own)]
    assert found["centroid_norm"] == pytest.approx(lengths[0] / lengths[1], rel=0.05)
    assert found["prior_variance"] == pytest.approx(own.var(axis=0).mean(), rel=0.1)
    later, _ = algorithm.aggregate(state, UPLOADS)
    assert later.own_sharpness == state.own_sharpness > 0


def test_images_of_one_latent_are_told_to_be_alike(
    generator: OnnxGenerator, config: Config
) -> None:
    algorithm = fedktl.build(config, generator)
    state, _ = algorithm.aggregate(algorithm.start()[0], UPLOADS)
    one_CH = np.repeat(state.centroids_CH[:1], 3, axis=0)
    alike = dataclasses.replace(state, centroids_CH=one_CH)
    found = algorithm.round_metrics(
        UPLOADS, alike, latent_pairs.generate_pairs(one_CH, generator, config.shape)
    )
    assert found["image_difference"] == found["centroid_spread"] == 0
    assert "0.00 times as far apart" in algorithm.metric_warnings(found)["alike"]


def test_a_single_class_is_compared_with_no_other(generator: OnnxGenerator, config: Config) -> None:
    algorithm = fedktl.build(dataclasses.replace(config, classes=1), generator)
    state, broadcast = algorithm.aggregate(algorithm.start()[0], [upload(0, classes=1)])
    found = algorithm.round_metrics([], state, broadcast)
    assert found["image_difference"] == found["centroid_spread"] == 1
    assert "alike" not in algorithm.metric_warnings(found)


def test_where_nothing_is_sent_back_nothing_is_measured() -> None:
    algorithm = fedktl.build(Config(classes=3, width=5, shape=(1, 4, 4), transfer=0.0))
    found = algorithm.round_metrics(UPLOADS, *algorithm.aggregate(algorithm.start()[0], UPLOADS))
    assert found == {}
    assert algorithm.metric_warnings(found) == {}
