"""What is to be known of an algorithm before one is chosen; read without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class UploadKind:
    """What an algorithm's upload is.

    Attributes:
        part: parameters after training, of the whole model, its base or its head; or a mean for
            each class, of features, logits or the logits' directions.
        when: a mean is made: with the weights "before" the round's training or "after" it, in
            evaluation mode; or as training saw it ("during").
    """

    part: Literal["whole", "base", "head", "features", "logits", "directions"]
    when: Literal["before", "during", "after"] = "before"

    @property
    def of_weights(self) -> bool:
        """Whether parameters travel, so that a gradient can be read from them."""
        return self.part in ("whole", "base", "head")


@dataclass(frozen=True)
class AlgorithmInfo:
    """What a person wants to know of an algorithm before choosing it.

    Attributes:
        title: its name as the field writes it.
        runs_in: where it runs, of "simulation" and "mqtt".
        up: what a client uploads each round.
        down: what a client downloads each round.
        paper: authors, venue, address.
        variants: named sets of Config fields, where the paper and the released code differ.
        generator: whether the server may need one: `build` then takes it, and Config has
            `generator_sha256` and `latent_dim`, and `needs_generator` says whether it does.
        same_architecture: whether all clients must have one architecture, Config's `architecture`.
        linear_head_only: whether all clients' heads must be one linear layer, as the server takes
            them for.
        base: whether clients compute on the features of a frozen base: Config then has
            `base_sha256` and `dims`, and `Algorithm.make_client` makes the clients.
        averages: whether the server does no more than average, and so takes answers to earlier
            rounds by a weight; `Algorithm.aggregate_weighted` then does.
        forgets: whether a client can be taken out again; `Algorithm.remove_clients` then does.
        robust: whether uploads may be changed by a rule against forged ones (`edgeloop.robust`).
        rounds: how many it wants where nobody says.
        experimental: whether it is ours after a paper's idea, so that no published numbers are its.
        retired_options: hyperparameters that it had once, each with what to do instead.
        upload: what an upload shows its server, where `edgeloop privacy` has an attack on it.
        tuned: what `edgeloop tune` tries where nobody says: values by hyperparameter.
        generator_options: hyperparameters that change nothing while no generator is asked.
        numbers: how many numbers all clients' uploads hold in a round, and the broadcasts to them:
            formulas of a communication table, in symbols of `simulations.reproduce.counting`;
            empty where there is none.
        plain_sgd: whether its clients' steps, or its formulas, are of plain SGD at its own learning
            rate, so that no other optimiser and no schedule may take their place.
    """

    title: str
    runs_in: tuple[str, ...]
    up: str
    down: str
    paper: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    generator: bool = False
    same_architecture: bool = False
    linear_head_only: bool = False
    base: bool = False
    averages: bool = False
    forgets: bool = False
    robust: bool = True
    rounds: int = 50
    experimental: bool = False
    retired_options: Mapping[str, str] = field(default_factory=dict)
    upload: UploadKind | None = None
    tuned: Mapping[str, Sequence[bool | int | float | str]] = field(default_factory=dict)
    generator_options: Sequence[str] = ()
    numbers: tuple[str, str] | None = None
    plain_sgd: bool = False
