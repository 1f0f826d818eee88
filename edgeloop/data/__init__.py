"""Data sets, their partitions among clients, and the folders that hold them."""

from edgeloop.data.brought import DeviceData, DeviceSamples, SampleSelection
from edgeloop.data.columns import Columns
from edgeloop.data.federation import Federation, single_client, split
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import ClientData, Pool, Samples
from edgeloop.data.source import Source
from edgeloop.data.sources import is_divided, layout_of, load, read
from edgeloop.data.writing import write

__all__ = [
    "ClientData",
    "Columns",
    "DeviceData",
    "DeviceSamples",
    "Federation",
    "Partition",
    "Pool",
    "SampleSelection",
    "Samples",
    "Source",
    "is_divided",
    "layout_of",
    "load",
    "read",
    "single_client",
    "split",
    "write",
]
