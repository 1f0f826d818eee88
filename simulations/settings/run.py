"""One simulated run: whose samples, which algorithm, who takes part, and where it computes."""

# Over 320 lines: a field of a setting has its help below it, and a run has many.

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgeloop import algorithms, bases, generators
from edgeloop.algorithm import AlgorithmInfo
from edgeloop.bases import building
from edgeloop.bases.running import Base
from edgeloop.errors import ConfigError, EdgeloopError, choose
from edgeloop.generator import Generator
from edgeloop.mixing.experts import Mix
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol.robust_rules import RobustChoice, RobustRule
from edgeloop.protocol.task import BATCH_SIZE, VARIANT, WIDTH, Scalar
from edgeloop.runtime.config import Option, PrivacySettings
from edgeloop.seeds import derive
from edgeloop.training import metrics
from edgeloop.training.compute import Compute, Layout, Precision, usable_device
from edgeloop.training.descent import CONSTANT, PLAIN, DescentPlan
from simulations.settings.data import ComputeSettings, DataSettings, Whole
from simulations.settings.words import parse_options, parse_privacy

HyperparameterWords = Annotated[
    dict[str, Scalar], Option(name="--set", several=True, parse=parse_options)
]
PrivacyWords = Annotated[PrivacySettings | None, Option(several=True, parse=parse_privacy)]


class RunSettings(ComputeSettings, DataSettings):
    """One simulated run."""

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

    @property
    def secret(self) -> NoiseSecret | None:
        """What noise is made from: the run's seed, so that the run can be repeated."""
        if self.privacy is None:
            return None
        return NoiseSecret(self.privacy, derive(self.seed, "privacy").to_bytes(8, "big"))

    @property
    def rule(self) -> RobustRule:
        """The rule against forged uploads; of a replayed run the record's is what counts."""
        if self.secure and self.robust == "auto":
            return "none"  # a rule would look at single uploads
        return algorithms.robust_rule(self.algorithm, self.robust)

    @property
    def compute(self) -> Compute:
        """Where and how clients compute."""
        return Compute(self.device, self.memory_format, self.precision, self.idle)

    @property
    def descents(self) -> DescentPlan | None:
        """How clients descend; None for what the algorithms do by themselves."""
        found = DescentPlan(self.optimizer, self.schedule, self.augment, self.rounds)
        return None if found.plain else found

    def open_generator(self) -> Generator | None:
        """Return the run's generator, if its algorithm needs one: the embedded one by default.

        Raises:
            ConfigError: if there is a generator that nobody would ask.
            GeneratorError: if it cannot be used.
        """
        if self._needs_generator:
            return generators.load(self.generator or generators.EMBEDDED)
        if self.generator is not None and not self._computes_base:
            problem = f"{self.algorithm} asks none with these settings"
            others = ", ".join(algorithms.asking("generator"))
            raise ConfigError("generator", problem, f"leave it out, or choose {others}")
        return None

    def without_unasked(self) -> Self:
        """Return the settings without a generator, base or rule that their algorithm cannot use."""
        asks = self._needs_generator or self._computes_base
        info = algorithms.info(self.algorithm)
        return self.model_copy(
            update={
                "generator": self.generator if asks else None,
                "base": self.base if info.base else None,
                "robust": self.robust if info.robust else "auto",
                "secure": self.secure and info.averages,
            }
        )

    @property
    def _needs_generator(self) -> bool:
        return algorithms.needs_generator(self.algorithm, **self.algorithm_options(classes=2))

    @property
    def _computes_base(self) -> bool:
        """Whether the run's base is computed from a generator's images."""
        return algorithms.info(self.algorithm).base and self.base in (None, bases.AUTO)

    def open_base(self, shape: tuple[int, ...], classes: int) -> Base | None:
        """Return the run's base, if its algorithm needs one: computed where nobody names one.

        Args:
            shape: of one input.
            classes: C.

        Raises:
            BaseError: if it cannot be used.
            ConfigError: if there is a base that nobody would ask.
            GeneratorError: if its generator cannot be used.
        """
        if self._computes_base:
            generator = generators.load(self.generator or generators.EMBEDDED)
            return building.load_or_compute(generator, shape, classes)
        if self.base is None:
            return None
        if not algorithms.info(self.algorithm).base:
            problem = f"{self.algorithm} trains networks, and asks none"
            others = ", ".join(algorithms.asking("base"))
            raise ConfigError("base", problem, f"leave it out, or choose {others}")
        return Base.read(bases.folder_of(self.base))

    def check(self) -> None:
        """Find what can be found wrong without the data.

        Raises:
            ConfigError: naming it.
        """
        algorithms.config(self.algorithm, **self.algorithm_options(classes=2))
        if self.slow_rate and self.deadline is None and self.buffer is None:
            problem = "changes nothing where every client is waited for"
            raise ConfigError("slow-rate", problem, "give a --deadline, or a --buffer")
        if self.shuffle and self.privacy is not None:
            problem = "changes nothing with privacy: each step draws its samples"
            raise ConfigError("shuffle", problem, "leave it out")
        if self.cluster is None:  # else its machines have the device
            usable_device(self.device)
        rule = self.rule
        if self.secure and rule != "none":
            problem = f"{self.robust} compares single uploads, which a secure server does not have"
            raise ConfigError("robust", problem, "leave out --robust, or --secure")
        self._check_replay()
        self._check_buffer()
        self._check_beside()
        self._check_descents()
        for name in self.metrics:
            metrics.find(name)

    def _check_buffer(self) -> None:
        if self.buffer is None:
            return
        if not algorithms.info(self.algorithm).averages:
            problem = f"{self.algorithm} does more with a round's uploads than average them"
            others = ", ".join(algorithms.asking("averages"))
            raise ConfigError("buffer", problem, f"leave it out, or choose one of {others}")
        drawn = self.join_ratio < 1 or self.drop_rate or self.deadline is not None
        others_too = self.replay is not None or self.secure or self.privacy is not None
        if drawn or others_too or self.cohort == "stacked":
            problem = "chooses clients by a virtual clock, and knows neither noise nor stacking"
            remedy = (
                "leave out what draws it, and --replay, --secure, --privacy and --cohort stacked"
            )
            raise ConfigError("buffer", problem, remedy)

    def _check_replay(self) -> None:
        if self.replay is None:
            return
        drawn = self.join_ratio < 1 or self.drop_rate or self.deadline is not None
        if self.robust != "auto" or self.secure:
            problem = "takes its rule from the record"
            raise ConfigError("replay", problem, "leave out --robust and --secure")
        if drawn or self.new_clients or self.privacy is not None or self.cohort == "stacked":
            problem = "takes its clients from the record, and knows neither noise nor stacking"
            remedy = "leave out what draws it, and --new-clients, --privacy and --cohort stacked"
            raise ConfigError("replay", problem, remedy)

    def _check_descents(self) -> None:
        asked = {"optimizer": self.descents is not None, "metrics": bool(self.metrics)}
        for field, given in asked.items():
            if given and algorithms.info(self.algorithm).base:
                problem = (
                    f"needs an algorithm that trains networks, and {self.algorithm} trains none"
                )
                raise ConfigError(field, problem, "leave it out, schedule and augment too")
        descents = self.descents
        if descents is None:
            return
        descents.at(0)  # or an error that names what there is not
        other = (self.optimizer, self.schedule) != (PLAIN, CONSTANT)
        if other and algorithms.info(self.algorithm).plain_sgd:
            problem = f"the clients of {self.algorithm} take steps of their own, of plain SGD"
            raise ConfigError("optimizer", problem, "leave out optimizer and schedule")
        for field, given in (
            ("privacy", self.privacy is not None),
            ("cohort", self.cohort in ("stacked", "auto")),
        ):
            if given:
                problem = "has steps of its own, and optimizer, schedule and augment have theirs"
                raise ConfigError(field, problem, "leave it out, or leave those out")

    def _check_beside(self) -> None:
        for name in self.beside:
            if name not in algorithms.names():
                meant = choose(name, algorithms.names())
                raise ConfigError("beside", f"there is no {name!r}", meant)
            if name == self.algorithm:
                problem = f"{name} is what runs itself, and would be compared with itself"
                raise ConfigError("beside", problem, "name another algorithm, such as local")

    def algorithm_options(
        self, classes: int, shape: tuple[int, ...] = (1,), architecture: str = "cnn"
    ) -> dict[str, Any]:
        """Return the fields of the algorithm's Config that the data and these settings decide.

        Args:
            classes: C.
            shape: of one input.
            architecture: the first client's, unless an option names one.
        """
        variant = algorithms.variant_options(self.algorithm, self.variant)
        facts = {"classes": classes, "width": self.width, "seed": self.seed, "shape": shape}
        first = algorithms.supported_options(self.algorithm, architecture=architecture)
        options = {**first, **variant, **self.options}
        return {**options, **algorithms.supported_options(self.algorithm, **facts)}

    def folder(self) -> Path:
        """Return where the run goes if nobody says."""
        return Path("runs") / f"{self.algorithm}-{Path(self.data).resolve().stem}-{self.seed}"
