"""Whether the classifier in use is still worth it, by samples that came after it.

A classifier that passed its check can still be a bad one: its file can be damaged later, and what
it was chosen by can be other than what comes. So the one in use and the one before it both classify
the device's recent samples. Where the one in use cannot be run, does not give numbers, or is worse
beyond chance (McNemar's test, exact, 5 %), it is taken out of use.
"""

import logging
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.agent import predict
from edge.agent.companions import readable
from edge.agent.deployment import Deployment
from edge.agent.predict import Exported
from edgeloop.data import DeviceSamples, Samples
from edgeloop.errors import ModelError
from edgeloop.mixing import experts

log = logging.getLogger(__name__)

LEAST, MOST = 16, 512
"""Recent samples: the test samples too, while less than so many are new; at most so many."""

_BATCH = 64
_REMEDY = "wait for the next round's model"


@dataclass
class RecentSamples:
    """Remembers which samples a device had when its classifier was put into use."""

    _known: set[bytes] = field(default_factory=set)

    def remember(self, share: DeviceSamples) -> None:
        """All samples that are there now are old from now on."""
        self._known = {_key(each) for part in _parts(share) for each in part.inputs}

    def of(self, share: DeviceSamples) -> Samples:
        """Return the samples that came since; with the test samples while these are few."""
        if not self._known:
            return _last(share.data.test)
        train, test = _parts(share)
        from_train, from_test = self._new(train), self._new(test)
        if from_train.sum() + from_test.sum() < LEAST:
            from_test[:] = True
        inputs = np.concatenate([train.inputs[from_train], test.inputs[from_test]])
        labels = np.concatenate([train.labels[from_train], test.labels[from_test]])
        return _last(Samples(inputs, labels))

    def _new(self, part: Samples) -> NDArray[np.bool_]:
        return np.array([_key(each) not in self._known for each in part.inputs], np.bool_)


def fault(deployment: Deployment, recent: Samples, pixels: bool) -> str:
    """Return what is wrong with the classifier in use; empty if nothing is.

    Args:
        deployment: of the device.
        recent: samples that decide; maybe none.
        pixels: whether they are pixels, in [-1, 1].
    """
    try:
        model = predict.open_model(deployment.model)
        hits_N = correct(model, recent, pixels)
    except ModelError as error:
        return error.problem
    place = deployment.usable_before()
    if place is None or not len(recent):
        return ""
    try:
        before = predict.open_model(place)
        if not alike(model, before):
            return ""
        before_N = correct(before, recent, pixels)
    except ModelError as error:
        log.warning("the model before is not compared: %s", error)
        return ""
    if not experts.is_worse_hits(hits_N, before_N):
        return ""
    right = f"has {hits_N.mean():.4f} of {len(recent)} recent samples right"
    return f"{right}, the one before {before_N.mean():.4f}"


def correct(model: Exported, samples: Samples, pixels: bool) -> NDArray[np.bool_]:
    """Say which samples (N,) a classifier has right.

    Raises:
        ModelError: if it cannot be run, or gives no numbers.
    """
    found = np.zeros(len(samples), np.bool_)
    for start in range(0, len(samples), _BATCH):
        part = slice(start, start + _BATCH)
        if samples.inputs.shape[1:] != model.shape:
            problem = f"takes inputs of shape {model.shape}, and the device's have another"
            raise ModelError(str(model.path), problem, _REMEDY)
        scores = model.scores(readable(samples.inputs[part], pixels)).astype(np.float64)
        if not experts.are_usable(scores):
            raise ModelError(str(model.path), "gives scores that are no numbers", _REMEDY)
        found[part] = experts.hits(scores, samples.labels[part])
    return found


def alike(one: Exported, other: Exported) -> bool:
    """Return whether two classifiers classify the same inputs into the same classes."""
    return (one.class_names, one.shape, one.pixels) == (
        other.class_names,
        other.shape,
        other.pixels,
    )


def _parts(share: DeviceSamples) -> tuple[Samples, Samples]:
    return share.data.train, share.data.test


def _last(samples: Samples) -> Samples:
    return Samples(samples.inputs[-MOST:], samples.labels[-MOST:])


def _key(sample: NDArray[Any]) -> bytes:
    return blake2b(np.ascontiguousarray(sample).tobytes(), digest_size=16).digest()
