"""Class statistics as a sum: what a server learns where uploads are added in secret.

Shape suffixes: V numbers of a vector, C classes, D dimensions, R classes of an upload, T entries of
an upper triangle.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeloop.gaussian import statistics
from edgeloop.gaussian.statistics import ClassStatistics, Statistics

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StatisticsSum:
    """Counts, sums of features and, where it is sent, of their products.

    Attributes:
        classes: C.
        dims: D.
        second: whether the products are sent.
    """

    classes: int
    dims: int
    second: bool

    def encode(self, upload: Statistics) -> Floats:
        """Return what an upload stands for (V,): multiples of 2^-14, which are added exactly."""
        sums = statistics.decode_upload(upload, self.classes, self.dims)
        moment_T = np.zeros(statistics.triangle(self.dims) if self.second else 0)
        if sums.second_DD is not None:
            moment_T = sums.second_DD[np.triu_indices(self.dims)]
        return np.concatenate([sums.counts_C, sums.sums_CD.reshape(-1), moment_T])

    def decode(self, total_V: Floats) -> ClassStatistics:
        """Return one upload of all clients, whose means single precision rounds."""
        ends = np.cumsum([self.classes, self.classes * self.dims])
        counts_C, sums_P, moment_T = np.split(total_V, ends)
        labels_R = np.flatnonzero(counts_C)
        counts_R = counts_C[labels_R]
        means_RD = sums_P.reshape(self.classes, self.dims)[labels_R] / counts_R[:, None]
        return ClassStatistics(
            labels_R.astype(np.int64),
            counts_R.astype(np.int64),
            means_RD.astype(np.float32),
            (moment_T / max(counts_R.sum(), 1.0)).astype(np.float32),
        )
