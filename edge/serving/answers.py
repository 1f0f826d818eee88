"""What a classifier answers a request: by HTTP and by MQTT the same JSON.

Shape suffixes: B inputs, C classes.
"""

import json
import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.agent.predict import Inputs
from edge.serving import inputs
from edge.serving.batching import Batching
from edge.serving.measured import Measured
from edge.serving.model_in_use import ModelInUse, Serving
from edgeloop.errors import DataError, ModelError
from edgeloop.mixing import experts
from edgeloop.runtime.pace import LogRateLimiter

log = logging.getLogger(__name__)

SHARE_DIGITS = 6
"""Of a probability, after the point."""

FEW = 128
"""Scores of a request, of which Python makes an answer before NumPy has begun."""

WHOLE = "all"
"""Asks for all classes: a key of an address's query, or an MQTT message's user property."""

OK, BAD_REQUEST, FAILED, UNAVAILABLE = 200, 400, 500, 503

UNEXPECTED = "this request could not be answered; the server's log says why"


class Answer(NamedTuple):
    """An answer.

    Attributes:
        status: 200, 400 (the request is wrong), 500 (the classifier or the server fails) or 503
            (there is no classifier).
        body: JSON.
    """

    status: int
    body: bytes


@dataclass(frozen=True)
class Answering:
    """Answers requests with the classifier in use.

    Attributes:
        models: what answers.
        measured: counts.
        batching: runs inputs.
    """

    models: ModelInUse
    measured: Measured
    batching: Batching = field(default_factory=Batching)
    _limiter: LogRateLimiter = field(default_factory=LogRateLimiter)

    def answer(self, body: bytes | bytearray, kind: str, by: str, whole: bool = False) -> Answer:
        """Answer one request; an error that nobody thought of is logged, and answered by 500.

        Args:
            body: of the request.
            kind: its content type; may be empty.
            by: the protocol, for the count.
            whole: whether it tells the probabilities and scores of all classes.
        """
        begun = time.perf_counter()
        try:
            answer, count = self._answer(body, kind, whole)
        except Exception:  # one request must not end the others
            if self._limiter.allowed(by):
                log.exception("a request by %s could not be answered", by)
            answer, count = problem(FAILED, UNEXPECTED), 0
        self.measured.request(by, answer.status, count, time.perf_counter() - begun)
        return answer

    def _answer(self, body: bytes | bytearray, kind: str, whole: bool) -> tuple[Answer, int]:
        serving = self.models.now
        if serving is None:
            return problem(UNAVAILABLE, self.models.problem), 0
        try:
            read = inputs.read(body, kind, serving.model)
            scores_BC = self._scores(serving, read)
        except DataError as error:
            return problem(BAD_REQUEST, str(error)), 0
        except ModelError as error:
            return problem(FAILED, str(error)), 0
        told = _listed(serving, scores_BC, whole=True) if whole else _short(serving, scores_BC)
        if told is None:
            return problem(FAILED, f"{self.models.path}: gives scores that are no numbers"), 0
        text = f'{{"model": {serving.text}, "predictions": [{told}]}}'
        return Answer(OK, text.encode()), len(scores_BC)

    def _scores(self, serving: Serving, read: Inputs) -> NDArray[np.float32]:
        if serving.is_batched and isinstance(read, np.ndarray):
            return self.batching.scores(serving.model, read)
        return serving.model.scores(read)


def problem(status: int, text: str) -> Answer:
    """Return an answer that says what is wrong."""
    return Answer(status, json.dumps({"error": text}).encode())


def _short(serving: Serving, scores_BC: NDArray[np.float32]) -> str | None:
    """Return what is said of each input, as JSON without brackets; None if these are no scores."""
    if scores_BC.size > FEW:
        return _listed(serving, scores_BC, whole=False)
    begins, found = serving.begins, []
    for row in scores_BC.tolist():
        best, share = _best(row)
        if not share >= 0:
            return None
        found.append(f"{begins[best]}{share}}}")
    return ", ".join(found)


def _best(scores: list[float]) -> tuple[int, float]:
    """Return the best class and its probability; that is NaN if these are no scores."""
    top = max(scores, default=math.nan)
    share = 1.0 / sum([math.exp(score - top) for score in scores]) if scores else math.nan
    return (scores.index(top) if share >= 0 else 0), round(share, SHARE_DIGITS)


def _listed(serving: Serving, scores_BC: NDArray[np.float32], *, whole: bool) -> str | None:
    """Return what `_short` does, by NumPy."""
    if not experts.are_usable(scores_BC):
        return None
    return json.dumps(predictions(serving, scores_BC, whole))[1:-1]


def predictions(
    serving: Serving, scores_BC: NDArray[np.float32], whole: bool = False
) -> list[dict[str, Any]]:
    """Return what is said of each input.

    Args:
        serving: whose scores these are.
        scores_BC: minus infinity for a class that is not known.
        whole: whether the probabilities and scores of all classes are told, too; a class that is
            not known has the score null.
    """
    names = serving.model.class_names
    best_B = scores_BC.argmax(axis=1)
    weights_BC = np.exp(scores_BC - scores_BC.max(axis=1, keepdims=True)).astype(np.float64)
    sums_B = weights_BC.sum(axis=1)
    most_B = (1.0 / sums_B).round(SHARE_DIGITS)  # the best class's weight is exactly 1
    found: list[dict[str, Any]] = [
        {"label": names[best], "class": best, "probability": share}
        for best, share in zip(best_B.tolist(), most_B.tolist(), strict=True)
    ]
    if whole:
        shares_BC = (weights_BC / sums_B[:, None]).round(SHARE_DIGITS)
        rows = zip(found, shares_BC.tolist(), scores_BC.tolist(), strict=True)
        for each, shares, scores in rows:
            each["probabilities"] = shares
            each["scores"] = [score if math.isfinite(score) else None for score in scores]
    return found
