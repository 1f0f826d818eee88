"""What one run's settings come to, in a part for each who works with it: values, all resolved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeloop import algorithms
from edgeloop.mixing.experts import Mix
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.seeds import derive
from edgeloop.training.compute import Compute
from edgeloop.training.descent import DescentPlan
from simulations.settings.data import admit_all
from simulations.settings.run_fields import RunFields

Cohort = Literal["plain", "stacked", "auto"]


@dataclass(frozen=True)
class Training:
    """What the clients train, and how; picklable.

    Attributes:
        algorithm: its name.
        models: the group or the architectures a,b,c; "" where nobody says.
        width: K, of the features that all clients share.
        seed: of the run.
        batch_size: of training; base statistics have no batches.
        shuffle: whether a client's samples are shuffled each epoch.
        compute: where and how.
        secret: what noise is made from; None without privacy.
        descents: None for what the algorithm does by itself.
        metrics: names of further ones of each evaluation.
        absent_stay: whether a client that does not join stays as it was.
        fine_tuning_epochs: of a client that joins after the last round.
        mix: how a client's network is mixed with one trained alone.
    """

    algorithm: str
    models: str
    width: int
    seed: int
    batch_size: int
    shuffle: bool
    compute: Compute
    secret: NoiseSecret | None
    descents: DescentPlan | None
    metrics: tuple[str, ...]
    absent_stay: bool
    fine_tuning_epochs: int
    mix: Mix

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Let in what a person named by its import path, in another process too."""
        self.__dict__.update(state)
        admit_all({**state, **({} if self.descents is None else vars(self.descents))})


@dataclass(frozen=True)
class Attendance:
    """Who takes part in which round.

    Attributes:
        rounds: of the run.
        seed: of the run.
        join_ratio: share of the clients that train in a round.
        varying: draw the share again each round, between `join_ratio` and 1.
        drop_rate: share of a round's uploads that are lost.
        slow_rate: share of slow clients.
        slow_factor: by which they are slower.
        deadline: of a round, in median client times; None waits for all.
        buffer: uploads that end a semi-asynchronous round; None without them.
        max_staleness: rounds that an upload may be old, with a buffer.
        rule: against forged uploads.
        replay: a record of who took part, which decides all of it; None without one.
    """

    rounds: int
    seed: int
    join_ratio: float
    varying: bool
    drop_rate: float
    slow_rate: float
    slow_factor: float
    deadline: float | None
    buffer: int | None
    max_staleness: int
    rule: RobustRule
    replay: Path | None


@dataclass(frozen=True)
class Course:
    """How the rounds go on, and what is kept of them.

    Attributes:
        rounds: of training, at most.
        patience: rounds without a new best accuracy before an early end; None for no such end.
        rule: against forged uploads.
        secure: whether the server learns the sum of a round's uploads only.
        history: whether each round's messages are kept.
        keep: whether the final state is kept.
    """

    rounds: int
    patience: int | None
    rule: RobustRule
    secure: bool
    history: bool
    keep: bool


@dataclass(frozen=True)
class Placement:
    """Where the clients compute.

    Attributes:
        workers: processes, or "auto" for one a core.
        device: as torch names it.
        cluster: a Ray cluster's address; None for this machine.
        cohort: whether clients of one architecture train together; "auto" measures it.
    """

    workers: int | Literal["auto"]
    device: str
    cluster: str | None
    cohort: Cohort


class RunParts(RunFields):
    """A run's settings, and the parts that they come to."""

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

    def training(self) -> Training:
        """Return what the clients train, and how."""
        return Training(
            algorithm=self.algorithm,
            models=self.models or "",
            width=self.width,
            seed=self.seed,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            compute=self.compute,
            secret=self.secret,
            descents=self.descents,
            metrics=self.metrics,
            absent_stay=self.replay is not None,
            fine_tuning_epochs=self.fine_tuning_epochs,
            mix=self.mix,
        )

    def attendance(self) -> Attendance:
        """Return who takes part in which round."""
        return Attendance(
            rounds=self.rounds,
            seed=self.seed,
            join_ratio=self.join_ratio,
            varying=self.random_join_ratio,
            drop_rate=self.drop_rate,
            slow_rate=self.slow_rate,
            slow_factor=self.slow_factor,
            deadline=self.deadline,
            buffer=self.buffer,
            max_staleness=self.max_staleness,
            rule=self.rule,
            replay=None if self.replay is None else Path(self.replay),
        )

    def course(self) -> Course:
        """Return how the rounds go on, and what is kept of them."""
        return Course(self.rounds, self.patience, self.rule, self.secure, self.history, self.keep)

    def placement(self) -> Placement:
        """Return where the clients compute; unasked, a GPU of this machine measures stacks."""
        here = self.device != "cpu" and self.cluster is None
        unasked: Cohort = "auto" if here and self.descents is None else "plain"
        return Placement(self.workers, self.device, self.cluster, self.cohort or unasked)

    def record(self) -> dict[str, Any]:
        """Return the settings as a run's folder keeps them: later ones only where they are used."""
        asked = self.model_dump(mode="json")
        if asked["mix"] == "never":
            del asked["mix"]  # as before there was any
        if not asked["keep"]:
            del asked["keep"]
        if asked["buffer"] is None:
            del asked["buffer"], asked["max_staleness"]
        if asked["replay"] is None:
            del asked["replay"]
        if not asked["secure"]:
            del asked["secure"]
        if asked["cluster"] is None:
            del asked["cluster"]
        return asked
