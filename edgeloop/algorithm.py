"""What an algorithm is: a server part, a client part, and the typed messages between them.

Shape suffixes: B samples of a batch, K features, C classes.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from edgeloop.algorithm_info import AlgorithmInfo as AlgorithmInfo
from edgeloop.algorithm_info import UploadKind as UploadKind
from edgeloop.batches import Batch as Batch
from edgeloop.batches import Batches as Batches
from edgeloop.errors import ConfigError
from edgeloop.hyperparameters import PFLLIB as PFLLIB
from edgeloop.hyperparameters import Count as Count
from edgeloop.hyperparameters import ModelConfig as ModelConfig
from edgeloop.hyperparameters import NotNegative as NotNegative
from edgeloop.hyperparameters import Positive as Positive
from edgeloop.hyperparameters import TrainingConfig as TrainingConfig
from edgeloop.hyperparameters import check_frame_size as check_frame_size

if TYPE_CHECKING:  # a device may know its task's algorithm without torch
    import torch
    from torch import Tensor

    from edgeloop.models.split import SplitModel

Forward = Callable[["Tensor"], tuple["Tensor", "Tensor"]]
"""Inputs (B, ...) to features (B, K) and logits (B, C): a model, or its parameters applied."""

Loss = Callable[[Forward, Batch, Any], "Tensor"]
"""A model's outputs on a batch, and the targets, to a scalar; no side effects."""

CollectedOutputs = list[tuple["Tensor", "Tensor"]]
"""Features or logits (B, any) as they were seen, and their labels (B,)."""

State = TypeVar("State")
Upload = TypeVar("Upload")
Broadcast = TypeVar("Broadcast")


def no_metrics(*_: Any) -> Mapping[str, float]:
    """Return no number: what most servers have."""
    return {}


def no_warnings(measures: Mapping[str, float]) -> Mapping[str, str]:
    """Find nothing wrong: what most servers do."""
    return {}


def leave_unchanged(model: "SplitModel", *_: Any) -> None:
    """Leave a client's model as it is: what most algorithms do before they evaluate."""


def no_network(*_: Any) -> Any:
    """Stand where an algorithm says how a network is trained, in one that trains none.

    Raises:
        RuntimeError: always; `Algorithm.make_client` makes the clients of such an algorithm.
    """
    raise RuntimeError("no network is trained here: ask Algorithm.make_client for a client")


def no_targets(broadcast: Any, device: "torch.device") -> None:
    """Return nothing: a loss that needs a batch only."""


def accept(upload: Any) -> None:
    """Find nothing wrong with an upload that could be read: its sizes are checked before."""


def as_it_is(upload: Upload) -> Upload:
    """Return an upload unchanged: one whose numbers can be compared from client to client."""
    return upload


def logits(model: "SplitModel", inputs: "Tensor", targets: Any) -> "Tensor":
    """Return a model's logits (B, C) of a batch: what most algorithms predict by."""
    scores_BC: Tensor = model(inputs)[1]
    return scores_BC


def raw_scores(scores_BC: "Tensor") -> "Tensor":
    """Return a prediction's scores as they are: what most algorithms' AUC compares."""
    return scores_BC


def softmax_scores(scores_BC: "Tensor") -> "Tensor":
    """Return each sample's scores as their softmax, (B, C): how sure it is of each class."""
    return scores_BC.softmax(1)


def _no_extra_params(goal: Any) -> tuple[str, ...]:
    return ()


def _no_step_inputs(goal: Any, seed: int) -> Iterator[Mapping[str, "Tensor"]]:
    return itertools.repeat({})


def _recipe_only(*_: Any) -> Any:
    """Stand where a recipe says what is to be done, and there is none.

    Raises:
        RuntimeError: always: the algorithm has neither a recipe nor this part.
    """
    raise RuntimeError("the algorithm has no recipe, and does not say this itself")


@dataclass(frozen=True)
class Recipe(Generic[Upload, Broadcast]):
    """A client's round as data: one descent, and an upload of what was seen of its outputs.

    `sgd.train_recipe` takes it with one model, `vectorized.VectorizedTrainer` with many in one
    step. What is no recipe, such as a round of two descents, an algorithm writes out as its
    `train`.

    Attributes:
        loss: of a batch.
        epochs: E.
        lr: eta.
        upload: makes the message, of the trained model, its batches and what was seen.
        targets: a broadcast's tensors on the device that trains, the goal: None, or a named tuple.
        collect: which outputs; None for none.
        collect_at: they are seen: "during" training, each batch before its step; or of all samples,
            in evaluation mode, "before" or "after" it.
        clip: the largest norm of the model's gradient, and of what `extra_params` names.
        extra_params: names the tensors of a goal that learn with the model, each client's its own.
        step_inputs: fields of a goal that a client has again in each step, by the round's seed;
            endless.
    """

    loss: Loss
    epochs: int
    lr: float
    upload: Callable[["SplitModel", Batches, CollectedOutputs], Upload]
    targets: Callable[[Broadcast, "torch.device"], Any] = no_targets
    collect: Literal["features", "logits"] | None = None
    collect_at: Literal["before", "during", "after"] = "during"
    clip: float | None = None
    extra_params: Callable[[Any], tuple[str, ...]] = _no_extra_params
    step_inputs: Callable[[Any, int], Iterator[Mapping[str, "Tensor"]]] = _no_step_inputs


class Summing(Protocol):
    """How uploads are added where a server is to learn their sum only; see `edgeloop.secure`."""

    def encode(self, upload: Any) -> Any:
        """Return an upload as a vector of float64, as long as all others'."""
        ...

    def decode(self, total: Any) -> Any:
        """Return one upload that an algorithm makes the same of as of all whose sum this is."""
        ...


@dataclass(frozen=True)
class Algorithm(Generic[State, Upload, Broadcast]):
    """One federated algorithm, bound to one configuration.

    Where a client's round is a `recipe`, that says `targets`, `loss` and `train`, unless they are
    given; else `train` must be.

    Attributes:
        state: what the server keeps from round to round; a message, so that a ledger can hold it.
        upload: the message a client sends at the end of a round.
        broadcast: the message the server opens a round with.
        sizes: the sizes that the configuration fixes, by dimension letter, for `wire.decode`.
        start: server; the first state and the first broadcast.
        aggregate: server; one round's uploads, in the order of client names, to the next broadcast.
        aggregate_weighted: server; `aggregate` where each upload counts by a factor besides, and
            alike by factors that are all 1; None where it does more than average.
        summing: server and client; how uploads are added in secret; None where single ones count.
        unpacked: server; an upload as one whose numbers mean the same in all clients' uploads, for
            rules that compare them; itself, unless it is factored or compressed.
        recipe: client; its round as data, where it is one descent: such clients can be stacked.
        train: client; one round on local batches, to an upload. Changes the model. The recipe's
            where there is one.
        check: server; raises ValueError for an upload that does not fit the configuration.
        targets: client; a broadcast's tensors on the device that predicts; the recipe's where there
            is one.
        loss: client; a pure function of a model's outputs on a batch and the targets, to a scalar:
            the same for one model and for many stacked ones. The recipe's where there is one.
        predict: client; scores (B, C) of a batch, the highest is the class; a batch's row without
            any finite score has no class. The logits, unless said otherwise.
        auc_scores: client; those scores to what its AUC compares across samples and classes, as the
            released code does: themselves, or their softmax. The class is the same.
        init_client_state: client; adds to a new model's `kept` what the client keeps beside it.
        load_broadcast: client; takes over what a broadcast brings, before the model is evaluated
            with it; the local batches are there for what adapts to them. Changes the model. A
            device that is started again while it concludes may call it again with the same
            broadcast, on the model as it was before the first call.
        privacy_leak: what of a client's training samples its evaluations show without noise, a
            sentence, so that no client may be private; empty for nothing.
        full_rounds: server; how many of the first rounds ask every client and lose no upload,
            whoever takes part in the others.
        round_metrics: server; one round's uploads and the new state and broadcast, to numbers of
            the algorithm's own for a person to watch, by name.
        metric_warnings: server; one round's `round_metrics`, to what they say is wrong, a sentence
            each, by a short name. It is legal, and may pass: nothing ends for it.
    """

    state: type[State]
    upload: type[Upload]
    broadcast: type[Broadcast]
    sizes: Mapping[str, int]
    start: Callable[[], tuple[State, Broadcast]]
    aggregate: Callable[[State, Sequence[Upload]], tuple[State, Broadcast]]
    recipe: Recipe[Upload, Broadcast] | None = None
    train: Callable[["SplitModel", Batches, Broadcast], Upload] = _recipe_only
    check: Callable[[Upload], None] = accept
    targets: Callable[[Broadcast, "torch.device"], Any] = no_targets
    loss: Loss = _recipe_only
    predict: Callable[["SplitModel", "Tensor", Any], "Tensor"] = logits
    init_client_state: Callable[["SplitModel"], None] = leave_unchanged
    load_broadcast: Callable[["SplitModel", Batches, Broadcast], None] = leave_unchanged
    privacy_leak: str = ""
    auc_scores: Callable[["Tensor"], "Tensor"] = raw_scores
    full_rounds: int = 0
    round_metrics: Callable[[Sequence[Upload], State, Broadcast], Mapping[str, float]] = no_metrics
    metric_warnings: Callable[[Mapping[str, float]], Mapping[str, str]] = no_warnings
    aggregate_by_name: Callable[[State, Mapping[str, Upload]], tuple[State, Broadcast]] | None = (
        None
    )
    aggregate_weighted: (
        Callable[[State, Sequence[Upload], Sequence[float]], tuple[State, Broadcast]] | None
    ) = None
    summing: Summing | None = None
    unpacked: Callable[[Upload], Upload] = as_it_is
    remove_clients: Callable[[State, Collection[str]], tuple[State, Broadcast]] | None = None
    make_client: Callable[[str, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.recipe is None:
            if self.train is _recipe_only:
                raise TypeError("an algorithm without a recipe needs train")
            return
        derived = {
            "targets": (no_targets, self.recipe.targets),
            "loss": (_recipe_only, self.recipe.loss),
            "train": (_recipe_only, partial(_train_recipe, self.recipe)),
        }
        for name, (unsaid, value) in derived.items():
            if getattr(self, name) is unsaid:
                object.__setattr__(self, name, value)

    def aggregate_uploads(
        self, state: State, uploads: Mapping[str, Upload]
    ) -> tuple[State, Broadcast]:
        """Return what one round's uploads, by client in the order of their names, lead to."""
        if self.aggregate_by_name is not None:
            return self.aggregate_by_name(state, uploads)
        return self.aggregate(state, list(uploads.values()))


def _train_recipe(
    recipe: Recipe[Upload, Broadcast],
    model: "SplitModel",
    batches: Batches,
    broadcast: Broadcast,
) -> Upload:
    """Train as a recipe says. By the module's name: whoever trains has torch, others need not."""
    trained: Upload = import_module("edgeloop.training.sgd").train_recipe(
        recipe, model, batches, broadcast
    )
    return trained


def private_recipe(
    algorithm: Algorithm[Any, Upload, Broadcast], name: str = "the algorithm"
) -> Recipe[Upload, Broadcast]:
    """Return the recipe of an algorithm whose clients can train with differential privacy.

    Raises:
        ConfigError: if its round is more than one descent, or its evaluations show what has no
            noise.
    """
    remedy = "choose of docs/privacy.md, such as fedproto"
    if algorithm.recipe is None:
        what = (
            "is no training of a network" if algorithm.make_client else "is more than one descent"
        )
        problem = f"a round of {name} {what}, and has no private form"
        raise ConfigError("privacy", problem, remedy)
    if algorithm.privacy_leak:
        raise ConfigError("privacy", algorithm.privacy_leak, "set own_prior=false")
    return algorithm.recipe
