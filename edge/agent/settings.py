"""A device's configuration file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeloop.data import Columns, Partition, SampleSelection
from edgeloop.mixing.experts import Mix
from edgeloop.protocol.task import DeviceName, Name
from edgeloop.runtime.config import BrokerSettings, Epsilon, Settings
from edgeloop.runtime.tracing import TraceSettings


class DataSettings(Settings):
    """The `[data]` table: whose samples these are.

    Attributes:
        source: a folder or file that `edgeloop.data.load` reads, or "fashion-sample".
        client: which client's share of it is this device's.
        layout: how a sensor folder's values lie; see `edgeloop.data.load`.
        partition: how a source without shares of its own is dealt out; without it, all of it is
            this device's.
        clients: among how many.
        alpha: of the partitions dirichlet and exdir.
        classes_per_client: of the partitions pathological and exdir.
        seed: of the partition.
        image_size: pixels of a side that image files are resized to; the task's if not given.
        label_column: of a table; the one whose name tells if not given.
        image_column: likewise, of the pictures or of their files.
        client_column: likewise, of the natural clients.
    """

    source: str
    client: Annotated[int, Field(ge=0)] = 0
    layout: Literal["files", "signal"] = "files"
    partition: Literal["iid", "pathological", "dirichlet", "natural", "exdir"] | None = None
    clients: Annotated[int, Field(ge=1)] = 20
    alpha: Annotated[float, Field(gt=0)] = 0.1
    classes_per_client: Annotated[int, Field(ge=1)] = 2
    seed: int = 1
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    label_column: str | None = None
    image_column: str | None = None
    client_column: str | None = None

    def chosen_partition(self) -> Partition | None:
        """Return the partition that these settings describe, if there is one."""
        if self.partition is None:
            return None
        return Partition(
            self.partition,
            clients=self.clients,
            alpha=self.alpha,
            classes_per_client=self.classes_per_client,
            seed=self.seed,
        )

    def selection(self) -> SampleSelection:
        """Return which samples these settings choose."""
        columns = Columns(self.label_column, self.image_column, self.client_column)
        partition, size = self.chosen_partition(), self.image_size
        return SampleSelection(self.source, self.client, partition, self.layout, size, columns)


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


class DeviceSettings(Settings):
    """A device: its name, the task it joins, its data, its model, its broker.

    Attributes:
        name: of the device, unique in the task.
        task: the task to join.
        folder: where its state, its ONNX model and its summary are kept.
        health: send battery, processor and temperature along with each answer, as far as known.
        stay: after a run's end wait for the task's next one, until the process is stopped.
        broker: where the task's messages go.
        data: its samples.
        training: its model and how it learns.
        privacy: what it lets a task ask of it.
        trace: where traces go.
    """

    name: DeviceName
    task: Name
    folder: Path
    health: bool = True
    stay: bool = False
    broker: BrokerSettings = BrokerSettings()
    data: DataSettings
    training: TrainingSettings = TrainingSettings()
    privacy: PolicySettings = PolicySettings()
    trace: TraceSettings = TraceSettings()
