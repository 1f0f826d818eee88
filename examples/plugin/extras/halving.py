"""Gives the first client half of the samples, the next half of the rest, and so on."""

import numpy as np


def halving(labels, partition, random):
    """Return each client's samples: indices into `labels`, (N,) int64."""
    order = random.permutation(len(labels))
    ends = [len(labels) - len(labels) // 2**number for number in range(1, partition.clients)]
    return np.split(order, ends)
