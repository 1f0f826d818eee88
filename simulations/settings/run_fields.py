"""One simulated run's settings as a person gives them."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edgeloop import algorithms
from edgeloop.algorithm import AlgorithmInfo
from edgeloop.errors import EdgeloopError
from edgeloop.mixing.experts import Mix
from edgeloop.protocol.robust_rules import RobustChoice
from edgeloop.protocol.task import BATCH_SIZE, VARIANT, WIDTH, Scalar
from edgeloop.runtime.config import Option, PrivacySettings
from edgeloop.training.compute import Layout, Precision
from edgeloop.training.descent import CONSTANT, PLAIN
from simulations.settings.data import ComputeSettings, DataSettings, Whole
from simulations.settings.words import parse_options, parse_privacy

HyperparameterWords = Annotated[
    dict[str, Scalar], Option(name="--set", several=True, parse=parse_options)
]
PrivacyWords = Annotated[PrivacySettings | None, Option(several=True, parse=parse_privacy)]


class RunFields(ComputeSettings, DataSettings):
    """What one simulated run may be given: each setting, its range, its default, its help."""

    algorithm: Annotated[str, Option(positional=True)]
    """Algorithm, see edgeloop algorithms; or ktl: one client, three baselines."""
    models: str | None = None
    """Model group, or architectures a,b,c assigned to clients in turn."""
    width: Whole = WIDTH
    """Feature width K that all clients share."""
    rounds: Annotated[Whole, Option(unsaid=True)] = AlgorithmInfo.rounds
    """Number of rounds. [default: what the algorithm wants, mostly 50]"""
    patience: Whole | None = None
    """Early stopping: rounds without a new best accuracy."""
    join_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of the clients that train in a round."""
    random_join_ratio: bool = False
    """Draw the fraction again each round, between --join-ratio and 1."""
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of a round's uploads that are lost."""
    slow_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of slow clients; see --deadline."""
    slow_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 5.0
    """Slowdown of a slow client."""
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Deadline of a round, in median client times. [default: wait for all]"""
    buffer: Whole | None = None
    """Semi-asynchronous rounds: number of uploads that end a round; see --slow-rate."""
    max_staleness: Annotated[int, Field(ge=0, le=1000)] = 10
    """Largest age of an upload, in rounds, with --buffer."""
    replay: str | None = None
    """Record of who took part in a task over MQTT (participation.json), to repeat its run."""
    new_clients: Annotated[int, Field(ge=0)] = 0
    """Number of clients, the last ones, that join after training."""
    fine_tuning_epochs: Whole = 1
    """Fine-tuning epochs of a client that joins after training."""
    robust: RobustChoice = "auto"
    secure: bool = False
    """Rehearse secure aggregation: the server learns the sum of a round's uploads only."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of the run."""
    batch_size: Whole = BATCH_SIZE
    """Training batch size."""
    shuffle: bool = False
    """Shuffle a client's samples each epoch."""
    variant: str = VARIANT
    """Variant: released, paper or another; see `edgeloop algorithms NAME`."""
    options: HyperparameterWords = Field(default_factory=dict)
    """A hyperparameter: key=value. May be repeated."""
    privacy: PrivacyWords = None
    """Train and send with noise: noise=1, clip, prototype_noise, prototype_clip, delta, epsilon
    (the budget). May be repeated."""
    generator: str | None = None
    """Generator, if the algorithm uses one; see `edgeloop generator list`. [default: digits]"""
    base: str | None = None
    """Base, if the algorithm computes on one; see `edgeloop base list`. [default: computed]"""
    memory_format: Layout = "channels-last"
    """Memory format: channels-last or contiguous."""
    precision: Precision = "float32"
    """Precision: float32 or bfloat16."""
    idle: Literal["device", "host"] = "device"
    """Where idle models are kept: device, or host memory."""
    cohort: Literal["plain", "stacked", "auto"] | None = None
    """Cohort: plain, stacked, or auto to measure. [default: plain; auto on a GPU]"""
    cluster: str | None = None
    """Ray cluster that the clients train on: host:port, auto, or local to start one here."""
    history: bool = False
    """Keep the messages of each round for the report."""
    keep: bool = False
    """Keep the final state with every client's model: more --rounds continue from it."""
    beside: Annotated[tuple[str, ...], Option(several=True)] = ()
    """Afterwards run local, or other algorithms (a,b), on the same data, and say whether taking
    part paid off."""
    mix: Mix = "never"
    """At the end, mix each client's network with one trained alone: never, half, or auto, by a
    weight that it chooses."""

    optimizer: str = PLAIN
    """Optimiser of the clients: sgd, or another of torch.optim: "sgd momentum=0.9", adam."""
    schedule: str = CONSTANT
    """Learning rate over the rounds: constant, cosine, linear, or "exponential 0.99"."""
    augment: str | None = None
    """Augmentation of training images: flip, crop, flip+crop."""
    metrics: Annotated[tuple[str, ...], Option(several=True)] = ()
    """Further metrics of each evaluation: balanced-accuracy, macro-f1, or others': a,b."""

    @model_validator(mode="before")
    @classmethod
    def _natural_rounds(cls, table: Any) -> Any:
        """Take the algorithm's own number of rounds where none is given."""
        if not isinstance(table, dict) or table.get("rounds") is not None:
            return table
        given = {key: value for key, value in table.items() if key != "rounds"}
        name = table.get("algorithm")
        if name not in algorithms.names():
            return given
        try:
            return {**given, "rounds": algorithms.info(name).rounds}
        except EdgeloopError:  # another package's that is broken: `check` says so
            return given

    @field_validator("beside", "metrics", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Take "local,fedavg" apart, alone or in a list; a name that comes twice stands once."""
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(each, str) for each in words):
            return value
        names = (name.strip() for word in words for name in word.split(","))
        return tuple(dict.fromkeys(name for name in names if name))
