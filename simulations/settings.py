"""What a simulation is asked to do, checked before anything runs."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edgeloop import algorithms, bases, data, generators
from edgeloop.bases import building
from edgeloop.bases.running import Base
from edgeloop.data import Federation, Partition
from edgeloop.data.views import select_clients
from edgeloop.errors import ConfigError, EdgeloopError, choose
from edgeloop.generator import Generator
from edgeloop.mixing.experts import Mix
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol.task import Scalar
from edgeloop.runtime.config import PrivacySettings, Settings
from edgeloop.seeds import derive
from edgeloop.training.compute import Compute, Layout, Precision, usable_device

CLIENTS = 20
"""Clients of a partition, unless somebody says how many."""

Whole = Annotated[int, Field(ge=1)]

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OWN_OPTIONS = {
    **{"classes": "--data", "width": "--width", "seed": "--seed", "shape": "--data"},
    **{"generator_sha256": "--generator", "latent_dim": "--generator"},
    **{"base_sha256": "--base", "dims": "--base"},
}


class DataSettings(Settings):
    """Whose samples these are.

    Attributes:
        data: a folder or file that `edgeloop.data.load` reads, or "fashion-sample".
        layout: how a sensor folder's values lie; see `edgeloop.data.load`.
        partition: how to divide the data; None keeps the clients of a folder that has some.
        alpha: of the partitions dirichlet and exdir.
        classes_per_client: of the partitions pathological and exdir.
        balanced: give every client of `iid` and `pathological` equal shares of a class.
        clients: how many; None means 20, or as many as the data comes with.
        samples: how many to divide, drawn at random; None means all.
        partition_seed: of the partition.
        only_client: run this client of the partition alone; None for all of them.
        shots: training samples of each class that a client keeps, the first ones; None for all.
        image_size: pixels of a side that image files are resized to; None leaves them.
    """

    data: str
    layout: Literal["files", "signal"] = "files"
    partition: Literal["iid", "pathological", "dirichlet", "natural", "exdir"] | None = None
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    classes_per_client: Whole = 2
    balanced: bool = False
    clients: Whole | None = None
    samples: Whole | None = None
    partition_seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    only_client: Annotated[int, Field(ge=0)] | None = None
    shots: Whole | None = None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None

    def federation(self) -> Federation:
        """Open the data as these clients hold it.

        Raises:
            ConfigError: if the data comes with another number of clients than was asked for.
            DataError: if the data cannot be read, or not be divided so, or has no such client.
        """
        federation = data.load(self.data, self._partition(), self.layout, self.image_size)
        if self.clients is not None and self.clients != len(federation):
            raise ConfigError(
                "clients",
                f"{self.clients} asked for, but {self.data} comes divided among {len(federation)}",
                "leave --clients out, or choose a --partition other than natural",
            )
        chosen = range(len(federation)) if self.only_client is None else [self.only_client]
        return select_clients(federation, chosen, self.shots)

    def _partition(self) -> Partition | None:
        if self.partition is None:
            if self.samples is not None:
                problem = "is of a partition, and none is asked for"
                raise ConfigError("samples", problem, "give a --partition, or leave it out")
            return None
        return Partition(
            self.partition,
            clients=self.clients or CLIENTS,
            alpha=self.alpha,
            classes_per_client=self.classes_per_client,
            balanced=self.balanced,
            samples=self.samples,
            seed=self.partition_seed,
        )


class RunSettings(DataSettings):
    """One simulated run.

    Attributes:
        algorithm: its name in `edgeloop.algorithms`.
        models: a group or architectures of `edgeloop.models`; None means "cnn" for images and
            "htfe-sen-2" for signals.
        width: K, the unified feature width.
        rounds: T, how many rounds of training.
        patience: stop after so many evaluations without a new best one; None for never.
        join_ratio: rho, the share of the clients that trains in a round; all evaluate.
        random_join_ratio: draw that share again each round, between it and 1.
        drop_rate: the share of a round's uploads that is lost on the way.
        slow_rate: the share of the clients that is slow; they are late where there is a deadline.
        slow_factor: how many times longer a slow one takes.
        deadline: of a round, in the median client's time; None to wait for everybody.
        new_clients: so many of the last clients join after the last round.
        fine_tuning_epochs: of a new client.
        seed: the run's only seed.
        batch_size: samples a training batch.
        shuffle: train on a client's samples in a new order in each epoch, by the run's seed.
        variant: the paper's formulas, or those of the released code.
        options: hyperparameters that differ from the variant's.
        generator: a reference, for an algorithm that needs one; see `edgeloop.generators`.
        base: a reference, for an algorithm that needs one; see `edgeloop.bases`. None means one
            that is computed from the generator's images.
        workers: processes that clients train in; changes no result.
        device: where clients train.
        memory_format: of images and of convolutions' weights; another one rounds otherwise.
        precision: that models multiply in; see `edgeloop.training.compute`.
        idle: where a model waits for its next turn, on the device or in the host's memory.
        cohort: train each client by itself ("plain"), clients of one architecture in one step
            ("stacked"), or what a measurement finds faster ("auto"). None: "plain" on a CPU, where
            results are then the same to the bit wherever a run runs, "auto" on a GPU.
        history: keep what each round exchanged, for a report; changes no result.
        beside: algorithms that run after it on the same data, to compare with; see
            `engine.companion`. One name, several with commas, or a list; changes no result.
        privacy: how much noise is in what clients send; None for none.
        mix: mix each client's network, at the end, with one trained alone: half and half, or by a
            weight that it chooses; changes nothing in the rounds. See `edgeloop.mixing.experts`.
    """

    algorithm: str
    models: str | None = None
    width: Whole = 512
    rounds: Whole = 50  # or what the algorithm wants: see `_natural_rounds`
    patience: Whole | None = None
    join_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    random_join_ratio: bool = False
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    slow_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    slow_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 5.0
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    new_clients: Annotated[int, Field(ge=0)] = 0
    fine_tuning_epochs: Whole = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_size: Whole = 10
    shuffle: bool = False
    variant: str = "released"
    options: dict[str, Scalar] = Field(default_factory=dict)
    generator: str | None = None
    base: str | None = None
    workers: Whole | Literal["auto"] = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    memory_format: Layout = "channels-last"
    precision: Precision = "float32"
    idle: Literal["device", "host"] = "device"
    cohort: Literal["plain", "stacked", "auto"] | None = None
    history: bool = False
    beside: tuple[str, ...] = ()
    privacy: PrivacySettings | None = None
    mix: Mix = "never"

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

    @field_validator("beside", mode="before")
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
    def compute(self) -> Compute:
        """Where and how clients compute."""
        return Compute(self.device, self.memory_format, self.precision, self.idle)

    def open_generator(self) -> Generator | None:
        """Return the run's generator, if its algorithm needs one: the embedded one by default.

        Raises:
            ConfigError: if there is a generator that nobody would ask.
            GeneratorError: if it cannot be used.
        """
        if algorithms.needs_generator(self.algorithm, **self.algorithm_options(classes=2)):
            return generators.load(self.generator or generators.EMBEDDED)
        if self.generator is not None and not self._computes_base:
            problem = f"{self.algorithm} asks none with these settings"
            others = ", ".join(algorithms.asking("generator"))
            raise ConfigError("generator", problem, f"leave it out, or choose {others}")
        return None

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
        if self.slow_rate and self.deadline is None:
            problem = "changes nothing where every client is waited for"
            raise ConfigError("slow-rate", problem, "give a --deadline")
        if self.shuffle and self.privacy is not None:
            problem = "changes nothing with privacy: each step draws its samples"
            raise ConfigError("shuffle", problem, "leave it out")
        usable_device(self.device)
        self._check_beside()

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


def parse_options(words: Sequence[str]) -> dict[str, Scalar]:
    """Read "key=value" words; a value is a TOML scalar, or a bare word for a string.

    Raises:
        ConfigError: naming the word that is none, or a key that has an option of its own.
    """
    options: dict[str, Scalar] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not key or not equals:
            raise ConfigError("set", f"{word!r} is no key=value", "write --set pull=1.0")
        if key in _OWN_OPTIONS:
            raise ConfigError("set", f"{key} has an option of its own", f"use {_OWN_OPTIONS[key]}")
        options[key] = _scalar(key, value)
    return options


def parse_privacy(words: Sequence[str]) -> dict[str, Scalar] | None:
    """Read "key=value" words of `PrivacySettings`; none of them is no privacy.

    Raises:
        ConfigError: naming the word that is none.
    """
    found: dict[str, Scalar] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not key or not equals:
            problem = f"{word!r} is no key=value"
            raise ConfigError("privacy", problem, "write --privacy noise=1.0")
        found[key] = _scalar(key, value)
    return found or None


def parse_workers(word: str) -> int | Literal["auto"]:
    """Read a number of workers.

    Raises:
        ConfigError: if it is neither a number above 0 nor "auto".
    """
    if word == "auto":
        return "auto"
    if not word.isdecimal() or int(word) < 1:
        raise ConfigError("workers", f"{word!r} is no number above 0", "give one, or auto")
    return int(word)


def _scalar(key: str, text: str) -> Scalar:
    if _WORD.fullmatch(text) and text not in ("true", "false", "inf", "nan"):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (RecursionError, ValueError) as error:
        raise ConfigError(
            f"set {key}", f"{text[:80]!r} is no TOML value", 'write 1.0, true or "word"'
        ) from error
    if not isinstance(value, bool | int | float | str):
        raise ConfigError(f"set {key}", f"{text} is no single value", 'write 1.0, true or "word"')
    return value
