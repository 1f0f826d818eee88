"""Data sets, their partitions among clients, and the folders that hold them."""

from edgeloop.data.brought import Brought, Choice, Share
from edgeloop.data.federation import Federation, alone, split
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import ClientData, Pool, Samples
from edgeloop.data.sources import is_divided, layout_of, load, read
from edgeloop.data.writing import write

__all__ = [
    "Brought",
    "Choice",
    "ClientData",
    "Federation",
    "Partition",
    "Pool",
    "Samples",
    "Share",
    "alone",
    "is_divided",
    "layout_of",
    "load",
    "read",
    "split",
    "write",
]
