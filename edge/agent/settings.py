"""A device's configuration file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.agent.windows import PATTERN as HOURS
from edgeloop.data import Partition, SampleSelection
from edgeloop.data.settings import PartitionSeed, PartitionSettings, WindowSettings
from edgeloop.mixing.experts import Mix
from edgeloop.protocol.rollout import KINDS, Kind
from edgeloop.protocol.task import DeviceName, Name
from edgeloop.runtime.config import BrokerSettings, Epsilon, Settings
from edgeloop.runtime.tracing import TraceSettings

NOT_STATED = "not stated"
"""The licence of a model of which its device's file says nothing."""


class DataSettings(PartitionSettings):
    """The `[data]` table: the device's samples."""

    source: str
    """Data set: a folder, a parquet file, or fashion-sample."""
    client: Annotated[int, Field(ge=0)] = 0
    """Number of the client whose share this device has, if the source is divided."""
    clients: Annotated[int, Field(ge=1)] = Partition.clients
    """Number of clients of the partition; without a partition the device has the whole source."""
    seed: PartitionSeed = Partition.seed
    most_samples: Annotated[int, Field(ge=1)] | None = None
    """Largest number of photos to use from a folder, the newest; all if not given."""
    max_age_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest age, in days, of the photos to use from a folder; all if not given."""

    windows: WindowSettings | None = None
    """How recordings of sensors are cut into windows; leave it out for other data."""

    def chosen_partition(self) -> Partition | None:
        """Return the partition that these settings describe, if there is one."""
        return self.division(self.clients, self.seed)

    def selection(self) -> SampleSelection:
        """Return which samples these settings choose."""
        partition, size = self.chosen_partition(), self.image_size
        return SampleSelection(
            self.source,
            self.client,
            partition,
            self.layout,
            size,
            self.columns,
            self.most_samples,
            self.max_age_days,
            None if self.windows is None else self.windows.windowing(),
        )


class TrainingSettings(Settings):
    """The `[training]` table.

    Attributes:
        architecture: architecture of the device's model; `edgeloop models` lists them.
        device: torch device to train on, such as cpu.
        threads: number of threads, or "auto" for a short measurement.
        mix: whether to end with a mixture of the run's model and one trained alone: "half", "auto"
            (the device chooses the weight) or "never"; see `edgeloop.mixing.experts`.
    """

    architecture: str = "cnn"
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    mix: Mix = "auto"


class ModelSettings(Settings):
    """The `[model]` table: the classifier that the device uses.

    Attributes:
        every_rounds: number of rounds after which the device makes a new classifier, and uses it
            if it is no worse on its own samples; 0 for only at the end of a run.
        int8: also write an 8-bit version, if it is as good on the device's samples.
        licence: licence that the files of this device's models state, such as an SPDX name.
    """

    every_rounds: Annotated[int, Field(ge=0)] = 1
    int8: bool = False
    licence: Annotated[str, Field(min_length=1, max_length=200)] = NOT_STATED


class PolicySettings(Settings):
    """The `[privacy]` table: what this device allows a task.

    Attributes:
        require: take part only in tasks with differential privacy.
        max_epsilon: largest epsilon that the device spends in all runs together; a task's own
            budget may be lower. Tasks without differential privacy are then refused.
        max_delta: largest delta that a task may have.
    """

    require: bool = False
    max_epsilon: Epsilon | None = None
    max_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3

    @property
    def is_required(self) -> bool:
        """Whether a task must have privacy."""
        return self.require or self.max_epsilon is not None


class TrainingPolicy(Settings):
    """The `[policy]` table: when this device may train; see `edge.agent.policy`."""

    windows: tuple[Annotated[str, Field(pattern=HOURS)], ...] = ()
    """Hours of local time, such as "22:00-06:00" or "sat,sun 08:00-20:00"; always if not given."""
    mains_only: bool = False
    """Train only on mains power."""
    max_celsius: Annotated[float, Field(gt=0, lt=200)] | None = None
    """Largest temperature, in degrees Celsius, of any of the machine's sensors."""
    unmetered_only: bool = False
    """Train only on a network without volume charges."""
    metered: bool | Literal["auto"] = "auto"
    """Whether the network is metered; "auto" asks NetworkManager."""
    min_free_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Smallest free memory, in megabytes."""
    max_load: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest load average per core."""
    min_battery: Annotated[float, Field(ge=0, le=1)] | None = None
    """Charge below which the device only answers, without training, unless it is on mains."""
    root: Path = Path("/")
    """Folder that holds the kernel's sys and proc, such as the host's in a container."""


class ServeSettings(Settings):
    """The `[serve]` table: how `edgeloop serve` answers with the device's classifier.

    Attributes:
        host: address to listen on.
        port: port of HTTP; 0 for any free one.
        max_megabytes: largest request, in megabytes.
        connections: largest number of connections at a time; further ones must try again later.
        max_batch: largest number of waiting inputs that are run as one batch; 1 for no batches.
        token_file: file with a token that every request must bear; none if not given.
        mqtt: also answer requests over MQTT.
        broker: broker of these requests, if it is not the device's own.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8090
    max_megabytes: Annotated[int, Field(ge=1, le=256)] = 16
    connections: Annotated[int, Field(ge=1, le=1024)] = 32
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    token_file: Path | None = None
    mqtt: bool = False
    broker: BrokerSettings | None = None


class RolloutSettings(Settings):
    """The `[rollouts]` table: which roll-outs this device accepts; see docs/rollouts.md.

    Attributes:
        accept: kinds of roll-outs that the device accepts; it refuses the others.
    """

    accept: tuple[Kind, ...] = KINDS


class DeviceSettings(Settings):
    """A device: its name, the task it joins, its data, its model, its broker.

    Attributes:
        name: name of the device, unique in the task.
        task: name of the task to join.
        folder: folder for the device's state, ONNX model and summary.
        health: send battery, processor and temperature along with each answer, as far as known.
        stay: after a run wait for the task's next run, until the process is stopped.
        enrolment: folder that `edgeloop enroll` wrote. It provides the broker's address and the
            certificates that the `[broker]` table lacks, and the agent renews its certificate.
        broker: broker of the task.
        data: the device's samples.
        training: the device's model, and how it learns.
        model: the classifier that the device uses.
        serve: how its classifier is served.
        privacy: what it allows a task.
        policy: when it may train.
        rollouts: which roll-outs it accepts.
        trace: where traces are sent.
    """

    name: DeviceName
    task: Name
    folder: Path
    health: bool = True
    stay: bool = False
    enrolment: Path | None = None
    broker: BrokerSettings = BrokerSettings()
    data: DataSettings
    training: TrainingSettings = TrainingSettings()
    model: ModelSettings = ModelSettings()
    serve: ServeSettings = ServeSettings()
    privacy: PolicySettings = PolicySettings()
    policy: TrainingPolicy = TrainingPolicy()
    rollouts: RolloutSettings = RolloutSettings()
    trace: TraceSettings = TraceSettings()
