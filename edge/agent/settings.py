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
    """The `[data]` table: whose samples these are."""

    source: str
    """Data set: a folder, a parquet file, or fashion-sample."""
    client: Annotated[int, Field(ge=0)] = 0
    """Number of the client whose share is this device's, of a divided source or a partition."""
    clients: Annotated[int, Field(ge=1)] = Partition.clients
    """Number of clients of the partition; without one, all of the source is this device's."""
    seed: PartitionSeed = Partition.seed
    most_samples: Annotated[int, Field(ge=1)] | None = None
    """Of a folder of photos, so many of the newest; all if not given."""
    max_age_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of a folder of photos, those that were written within so many days; all if not given."""

    windows: WindowSettings | None = None
    """How recordings of sensors are cut; the source holds none, if not given."""

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
        architecture: the device's own model; see `edgeloop.models`.
        device: where to train, as torch names it.
        threads: a number, or "auto" for a short measurement.
        mix: end with the run's model mixed with one trained alone: half and half, by a weight that
            the device chooses ("auto"), or never; see `edgeloop.mixing.experts`.
    """

    architecture: str = "cnn"
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    mix: Mix = "auto"


class ModelSettings(Settings):
    """The `[model]` table: the classifier that the device has in use.

    Attributes:
        every_rounds: the device makes a model anew after every so many rounds, and puts it into use
            if its own samples do not call it worse; 0 for at a run's end only.
        int8: also write one in whole numbers of 8 bits, if it is as good by the device's samples.
        licence: of the models that this device makes, as their files say it, such as an SPDX name.
    """

    every_rounds: Annotated[int, Field(ge=0)] = 1
    int8: bool = False
    licence: Annotated[str, Field(min_length=1, max_length=200)] = NOT_STATED


class PolicySettings(Settings):
    """The `[privacy]` table: what this device lets a task ask of it.

    Attributes:
        require: take part only in tasks with privacy.
        max_epsilon: the most that its answers may tell of its data, all runs together; a task's
            own budget may be lower. Tasks without privacy are then refused.
        max_delta: the largest delta that a task may have.
    """

    require: bool = False
    max_epsilon: Epsilon | None = None
    max_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3

    @property
    def is_required(self) -> bool:
        """Whether a task must have privacy."""
        return self.require or self.max_epsilon is not None


class TrainingPolicy(Settings):
    """The `[policy]` table: when this device may train; it sleeps else. See `edge.agent.policy`."""

    windows: tuple[Annotated[str, Field(pattern=HOURS)], ...] = ()
    """Hours of local time, such as "22:00-06:00" or "sat,sun 08:00-20:00"; always if none."""
    mains_only: bool = False
    """Not on battery."""
    max_celsius: Annotated[float, Field(gt=0, lt=200)] | None = None
    """Not while a sensor of the machine is hotter."""
    unmetered_only: bool = False
    """Not on a network that is paid for by what goes through it."""
    metered: bool | Literal["auto"] = "auto"
    """Whether the network is; "auto" asks NetworkManager."""
    min_free_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Not while less memory is free."""
    max_load: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Not while more processes want a processor, for each of the machine's."""
    min_battery: Annotated[float, Field(ge=0, le=1)] | None = None
    """Charge below which the device only answers, without training, unless it is on mains."""
    root: Path = Path("/")
    """Where the kernel's files are, sys and proc, as in a container that has the host's."""


class ServeSettings(Settings):
    """The `[serve]` table: how `edgeloop serve` answers with the device's classifier.

    Attributes:
        host: address to listen on.
        port: of HTTP; 0 for any free one.
        max_megabytes: of a request.
        connections: at once; further ones are told to come again.
        max_batch: inputs of waiting requests that are run together; 1 for none.
        token_file: holds a token that a request must bear; none if not given.
        mqtt: also answer requests by MQTT.
        broker: where these come from, if not the device's own broker.
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
    """The `[rollouts]` table: what this device takes of what a server ships; see docs/rollouts.md.

    Attributes:
        accept: kinds of things; of others it says that it does not take them.
    """

    accept: tuple[Kind, ...] = KINDS


class DeviceSettings(Settings):
    """A device: its name, the task it joins, its data, its model, its broker.

    Attributes:
        name: of the device, unique in the task.
        task: the task to join.
        folder: where its state, its ONNX model and its summary are kept.
        health: send battery, processor and temperature along with each answer, as far as known.
        stay: after a run's end wait for the task's next one, until the process is stopped.
        enrolment: the folder that `edgeloop enroll` wrote: the broker's address and the
            certificates come from there, where the `[broker]` table has none, and the agent renews
            its certificate.
        broker: where the task's messages go.
        data: its samples.
        training: its model and how it learns.
        model: the classifier that it has in use.
        serve: how its classifier is served.
        privacy: what it lets a task ask of it.
        policy: when it may train.
        rollouts: what it takes of what a server ships.
        trace: where traces go.
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
