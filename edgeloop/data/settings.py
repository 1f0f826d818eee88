"""How a source is read and divided, as a simulation, a command and a device are asked alike."""

from typing import Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from edgeloop.data.columns import Columns
from edgeloop.data.partitions import Kind, Partition
from edgeloop.data.pfllib import Layout
from edgeloop.data.sensor_windows import Windowing
from edgeloop.runtime.config import Settings
from edgeloop.runtime.plugins import PARTITIONS

PartitionSeed = Annotated[int, Field(ge=0, lt=2**32, description="Seed of the data partition.")]


def _or_others(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Take the name of a partition that others bring, too."""
    others = isinstance(value, str) and value in PARTITIONS.names()
    return value if others else handler(value)


class WindowSettings(Settings):
    """The `[data.windows]` table: how a device's recordings of sensors are cut into inputs."""

    columns: tuple[str, ...] = ()
    """Names of the sensors' columns, in the order of the input's channels."""
    rate: Annotated[float, Field(gt=0, le=1e6)] = 50.0
    """Steps per second."""
    window: Annotated[float, Field(gt=0, le=3600)] = 2.56
    """Length of a window, in seconds."""
    stride: Annotated[float, Field(gt=0, le=3600)] = 1.28
    """Seconds from the start of one window to the start of the next."""
    label: str | None = None
    """Column of the labels; if not given, the label is the name of the file's folder."""
    scale: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (1.0,)
    """Divisor of the columns: one number for all, or one per column."""

    def windowing(self) -> Windowing:
        """Return how recordings are cut."""
        return Windowing(**self.model_dump())


class PartitionSettings(Settings):
    """How a source is read, and divided among clients; the defaults are `Partition`'s."""

    layout: Layout = "files"
    """Layout: files, or signal to undo interleaving."""
    partition: Annotated[Kind, WrapValidator(_or_others)] | None = None
    """Partition: iid, pathological, dirichlet, exdir, natural, or another package's."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Partition.alpha
    """Concentration of dirichlet and exdir: smaller is more skewed."""
    classes_per_client: Annotated[int, Field(ge=1)] = Partition.classes_per_client
    """Classes of each client, for pathological and exdir."""
    balanced: bool = Partition.balanced
    """Equal shares of a class, for iid and pathological."""
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Side length, in pixels, to resize image files to."""
    label_column: str | None = None
    """Column of the labels in a table. [default: by its name]"""
    image_column: str | None = None
    """Column of the images, or of their files. [default: by its name]"""
    client_column: str | None = None
    """Column of the natural clients. [default: by its name]"""

    @property
    def columns(self) -> Columns:
        """The columns of a table that are named."""
        return Columns(self.label_column, self.image_column, self.client_column)

    def division(self, clients: int, seed: int, samples: int | None = None) -> Partition | None:
        """Return the partition that these settings describe, if there is one.

        Args:
            clients: how many.
            seed: of the partition.
            samples: how many to divide; None for all.
        """
        if self.partition is None:
            return None
        return Partition(
            self.partition,
            clients=clients,
            alpha=self.alpha,
            classes_per_client=self.classes_per_client,
            balanced=self.balanced,
            samples=samples,
            seed=seed,
        )
