"""Data sets, their partitions among clients, and the folders that hold them."""

from edgeloop.data.federation import Federation, split
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import ClientData, Pool, Samples
from edgeloop.data.sources import load
from edgeloop.data.writing import write

__all__ = ["ClientData", "Federation", "Partition", "Pool", "Samples", "load", "split", "write"]
