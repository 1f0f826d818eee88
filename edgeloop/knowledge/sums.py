"""What clients upload as a sum: all that a server learns where uploads are added in secret.

The sum of encoded uploads is decoded to one upload of all clients together; an algorithm that
averages makes the same of it as of them all, up to the fixed-point step (`edgeloop.secure.ring`).

Shape suffixes: V numbers of a vector, P parameters, C classes, K features, N prototypes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeloop.knowledge.heads import HeadUpload
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.knowledge.weights import WeightsUpload

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightsSum:
    """Parameters, times what each client counts.

    Attributes:
        by_samples: a client counts by its samples; else alike.
    """

    by_samples: bool = True

    def encode(self, upload: WeightsUpload) -> Floats:
        """Return the samples, what the client counts, and its parameters times that (V,)."""
        counts = float(upload.samples if self.by_samples else 1)
        own = upload.weights_P.astype(np.float64)
        return np.concatenate([[float(upload.samples), counts], counts * own])

    def decode(self, total_V: Floats) -> WeightsUpload:
        """Return one upload of all clients.

        Raises:
            ValueError: if no client counts.
        """
        samples, counts = total_V[:2]
        if counts <= 0:
            raise ValueError("no client of the sum has any samples")
        return WeightsUpload(round(samples), (total_V[2:] / counts).astype(np.float32))


_WEIGHTS = WeightsSum()


@dataclass(frozen=True)
class HeadSum:
    """Heads, times each client's samples.

    Attributes:
        classes: C.
        entries: K.
    """

    classes: int
    entries: int

    def encode(self, upload: HeadUpload) -> Floats:
        """Return the samples, and the head and its bias times those (V,)."""
        own = np.concatenate([upload.head_CK.reshape(-1), upload.bias_C])
        return _WEIGHTS.encode(WeightsUpload(upload.samples, own))

    def decode(self, total_V: Floats) -> HeadUpload:
        """Return one upload of all clients.

        Raises:
            ValueError: if no client has any samples.
        """
        found = _WEIGHTS.decode(total_V)
        head_P, bias_C = np.split(found.weights_P, [self.classes * self.entries])
        return HeadUpload(found.samples, head_P.reshape(self.classes, self.entries), bias_C)


@dataclass(frozen=True)
class PrototypeSum:
    """Prototypes of all classes, times what each counts; nothing for a class a client lacks.

    Attributes:
        classes: C.
        entries: K.
        by_samples: a prototype counts by its samples; else alike.
    """

    classes: int
    entries: int
    by_samples: bool = False

    def encode(self, upload: PrototypeUpload) -> Floats:
        """Return each class's samples, what it counts, and its prototype times that (V,)."""
        found = np.zeros((self.classes, self.entries + 2))
        counts_N = upload.counts_N.astype(np.float64)
        weights_N = counts_N if self.by_samples else np.ones_like(counts_N)
        found[upload.labels_N, 0] = counts_N
        found[upload.labels_N, 1] = weights_N
        found[upload.labels_N, 2:] = weights_N[:, None] * upload.prototypes_ND
        return found.reshape(-1)

    def decode(self, total_V: Floats) -> PrototypeUpload:
        """Return one upload of all clients."""
        found = total_V.reshape(self.classes, -1)
        labels_N = np.flatnonzero(found[:, 1] > 0.5)  # a client with the class counts 1 at least
        rows = found[labels_N]
        return PrototypeUpload(
            labels_N,
            np.rint(rows[:, 0]).astype(np.int64),
            (rows[:, 2:] / rows[:, 1:2]).astype(np.float32),
        )
