"""What the algorithms have in common whose clients upload class prototypes and receive them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from edgeloop.algorithm import Algorithm, Recipe
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models.split import SplitModel

S = TypeVar("S")

Scores = Callable[[Tensor, Any, Tensor | None], Tensor]
"""Scores (B, C) of features (B, K) by a goal, and by the log of a client's own prior (C,)."""


class PrototypeConfig(Protocol):
    """The hyperparameters that they share."""

    @property
    def classes(self) -> int:
        """C."""
        ...

    @property
    def width(self) -> int:
        """K, the unified feature width."""
        ...

    @property
    def own_prior(self) -> bool:
        """Whether a client predicts by its own class prior, too."""
        ...


def prototype_algorithm(  # noqa: PLR0913 - what an algorithm is made of
    config: PrototypeConfig,
    recipe: Recipe[PrototypeUpload, GlobalPrototypes],
    *,
    state: type[S],
    start: Callable[[], S],
    aggregate: Callable[[S, Sequence[PrototypeUpload]], tuple[S, GlobalPrototypes]],
    scores: Scores = prototypes.nearness,
    dims: int | None = None,
    **more: Any,
) -> Algorithm[S, PrototypeUpload, GlobalPrototypes]:
    """Make an algorithm that begins without prototypes, and predicts by them.

    Args:
        config: of the run.
        recipe: how a client trains.
        state: the server's.
        start: makes it.
        aggregate: makes it, and the prototypes, anew of a round's uploads.
        scores: what a client predicts by.
        dims: D, of a prototype on its way; K unless given.
        more: of the `Algorithm`'s other fields.
    """
    sent = config.width if dims is None else dims

    def predict(model: SplitModel, inputs: Tensor, goal: Any) -> Tensor:
        return scores(model(inputs)[0], goal, prototypes.log_prior(model))

    made = Algorithm[S, PrototypeUpload, GlobalPrototypes](
        state=state,
        upload=PrototypeUpload,
        broadcast=GlobalPrototypes,
        sizes={"C": config.classes, "D": sent},
        start=lambda: (start(), prototypes.no_prototypes(config.classes, sent)),
        aggregate=aggregate,
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        recipe=recipe,
        predict=predict,
        **more,
    )
    return prototypes.with_own_prior(made) if config.own_prior else made
