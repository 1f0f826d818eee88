"""A client that trains with privacy: what its noise is made from, and what a round costs."""

from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, models
from edgeloop.client import Client
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import ConfigError
from edgeloop.privacy.accounting import Event
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol import wire
from edgeloop.runtime.config import PrivacySettings

SHAPE, CLASSES, WIDTH, SAMPLES = (1, 16, 16), 2, 4, 33
ASKED = PrivacySettings(noise=1.0, prototype_noise=0.5)
ALGORITHM = algorithms.load("fedproto", None, classes=CLASSES, width=WIDTH, local_epochs=2)
BROADCAST = ALGORITHM.start()[1]


def samples(seed: int, count: int) -> Samples:
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((count, *SHAPE)).astype(np.float32)
    return Samples(inputs, np.arange(count) % CLASSES)


def member(key: bytes = b"secret", seed: int = 1, **changes: Any) -> Client[Any, Any]:
    fields: dict[str, Any] = {
        "batch_size": 8,
        "seed": 0,
        "secret": NoiseSecret(ASKED, key),
        **changes,
    }
    model = models.build("cnn", SHAPE, CLASSES, WIDTH, 0)
    mine = ClientData(samples(seed, SAMPLES), samples(9, 4))
    return Client("one", ALGORITHM, model, mine, **fields)


def said(mine: Client[Any, Any], number: int = 0) -> str:
    upload = mine.answer(number, BROADCAST).upload
    assert upload is not None
    return wire.fingerprint(upload)


def test_the_same_secret_gives_the_same_answer_and_no_other_does() -> None:
    assert said(member()) == said(member())
    assert said(member()) != said(member(b"another"))  # nothing comes from the public seed alone
    assert said(member()) != said(member(), 1)


def test_noise_is_of_one_answer_only() -> None:
    names = set()
    for mine, number, broadcast in (
        (member(), 0, BROADCAST),
        (member(), 1, BROADCAST),
        (member(b"another"), 0, BROADCAST),
        (member(seed=2), 0, BROADCAST),
        (member(), 0, ALGORITHM.aggregate(None, [member().answer(0, BROADCAST).upload])[1]),
    ):
        release = mine.release(number, broadcast)
        assert release is not None
        names.add(release.name)
    trained = member()
    trained.answer(0, BROADCAST)
    again = trained.release(0, BROADCAST)  # another model, as after a task is restored
    assert again is not None
    assert len({*names, again.name}) == 6


def test_what_a_round_costs() -> None:
    release = member().release(0, BROADCAST)
    assert release is not None
    assert release.cost == (Event(1.0, 8 / SAMPLES, 8), Event(0.5, 1.0, 1))
    assert member(secret=None).release(0, BROADCAST) is None


def test_who_only_evaluates_keeps_its_model() -> None:
    mine = member()
    before = mine.weights()
    answer = mine.answer(0, BROADCAST, trains=False)
    assert answer.upload is None
    assert answer.report.train_samples == SAMPLES
    assert all(np.array_equal(before[name], each) for name, each in mine.weights().items())


def test_an_algorithm_without_a_recipe_is_refused() -> None:
    ditto = algorithms.load("ditto", None, classes=CLASSES, width=WIDTH, shape=SHAPE)
    model = models.build("cnn", SHAPE, CLASSES, WIDTH, 0)
    mine = ClientData(samples(1, 8), samples(9, 4))
    with pytest.raises(ConfigError, match="has no private form"):
        Client("one", ditto, model, mine, batch_size=8, seed=0, secret=NoiseSecret(ASKED, b""))
