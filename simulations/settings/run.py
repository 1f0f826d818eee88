"""One simulated run: what its settings come to, and what of them cannot be."""

from pathlib import Path
from typing import Any, Self

from edgeloop import algorithms, bases, generators
from edgeloop.bases import building
from edgeloop.bases.running import Base
from edgeloop.errors import ConfigError, choose
from edgeloop.generator import Generator
from edgeloop.training import metrics
from edgeloop.training.compute import usable_device
from edgeloop.training.descent import CONSTANT, PLAIN
from simulations.settings.parts import RunParts

TRAINING = ("local_epochs", "local_lr")
"""Hyperparameters of the clients' own training, which what runs beside has from the run."""


class RunSettings(RunParts):
    """One simulated run."""

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
            others = ", ".join(algorithms.names_with("generator"))
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

    def planned_rounds(self) -> list[int]:
        """Return how many rounds the run and each that is beside it have, if none ends early.

        Raises:
            ConfigError: if the settings are wrong, or there is no such algorithm.
        """
        self.check()
        return [each.rounds for each in (self, *self.companions(self.rounds))]

    def companions(self, rounds: int) -> list[Self]:
        """Return the settings of every run beside this one; see `companion`."""
        return [self.companion(name, rounds) for name in self.beside]

    def companion(self, name: str, rounds: int) -> Self:
        """Return the settings of an algorithm beside this run: what is the run's own, and no more.

        It has the run's data, models, seed, rounds of training, participation, and the clients'
        epochs and learning rate; its other hyperparameters are its defaults. Who sends nothing
        needs no noise.

        Args:
            name: of the algorithm.
            rounds: that the run had, if patience ended it early; an algorithm has its own number
                where one of the two needs a single exchange.

        Raises:
            ConfigError: if a hyperparameter is wrong.
        """
        info = algorithms.info(name)
        if info.rounds != algorithms.info(self.algorithm).rounds:  # one needs a single exchange
            rounds = info.rounds
        config = algorithms.config(self.algorithm, **self.algorithm_options(classes=2))
        own = {key: getattr(config, key) for key in TRAINING if hasattr(config, key)}
        changes: dict[str, Any] = {
            **{"algorithm": name, "rounds": rounds, "patience": None, "history": False},
            **{"options": algorithms.supported_options(name, **own), "beside": ()},
            "variant": self.variant if self.variant in info.variants else "released",
        }
        if info.up == "nothing":
            changes["privacy"] = None
        if self.cohort == "stacked":  # not every algorithm can
            changes["cohort"] = "auto"
        return self.model_copy(update=changes).without_unasked()

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
            others = ", ".join(algorithms.names_with("base"))
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
            others = ", ".join(algorithms.names_with("averages"))
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
        self,
        classes: int,
        shape: tuple[int, ...] = (1,),
        architecture: str = "cnn",
        width: int | None = None,
    ) -> dict[str, Any]:
        """Return the fields of the algorithm's Config that the data and these settings decide.

        Args:
            classes: C.
            shape: of one input.
            architecture: the first client's, unless an option names one.
            width: K, where the clients' models have their own.
        """
        variant = algorithms.variant_options(self.algorithm, self.variant)
        facts = {"classes": classes, "seed": self.seed, "shape": shape}
        facts["width"] = self.width if width is None else width
        first = algorithms.supported_options(self.algorithm, architecture=architecture)
        options = {**first, **variant, **self.options}
        return {**options, **algorithms.supported_options(self.algorithm, **facts)}

    def folder(self) -> Path:
        """Return where the run goes if nobody says."""
        return Path("runs") / f"{self.algorithm}-{Path(self.data).resolve().stem}-{self.seed}"
