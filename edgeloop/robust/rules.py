"""Robust rules on vectors, one a client. No draw, and the same bits on every machine.

Sums whose last bit would depend on a library's kernels are made by halves: the second half of a
row is added to the first, entry by entry, until one entry is left.

Sources: clipping to a radius around a centre, Karimireddy, He and Jaggi, ICML 2021; coordinate-wise
median and trimmed mean, Yin, Chen, Ramchandran and Bartlett, ICML 2018; geometric median by
smoothed Weiszfeld steps, Pillutla, Kakade and Harchaoui, IEEE TSP 2022; Krum, Blanchard, El Mhamdi,
Guerraoui and Stainer, NeurIPS 2017.

Shape suffixes: M clients, P entries of a vector, B of them at a time.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.floating]
Matrix = npt.NDArray[np.float64]

LEAST = 3
"""Vectors that have a majority that says which of them is the odd one."""

REACH = 3.0
"""Times the cohort's median distance that a vector may be from the cohort's median."""

DOUBT = 10.0
"""Times the median distance beyond which nothing of a vector counts."""

LENGTH = 10.0
"""Times the cohort's median length that a vector may have, so that no ordinary one is changed."""

AGREED = 0.8
"""Median cosine to the mean direction from which on a cohort is of one mind: in eight rounds of
the demo's devices FedProto has 0.9, FedTGP 0.85, and FedKTL, whose honest uploads do point apart,
0.3 to 0.55."""

CLAIM = 10.0
"""Times the median number of samples that an upload may count: who has more data may have more."""

CLAIM_OF_NORM = 30.0
"""Times the median of clients' largest counts, so that no ordinary upload is changed."""

FEW = 5
"""Vectors below which a median says little, and only what is far beyond all doubt is pulled in."""

REACH_OF_FEW = 30.0
"""Times the median, of distances and of samples, of fewer than five."""

STEPS = 8
"""Of Weiszfeld's algorithm; three are enough in its source."""

_BLOCK = 1 << 14  # entries of a vector whose squares are added by halves; then block by block
_CELLS = 1 << 22  # numbers that are looked at together; they change no result
_NEAR = 1e-6  # of the median distance, below which Weiszfeld's weights do not grow


def coordinate_median(vectors: Sequence[Vector]) -> Matrix:
    """Return the median (P,) of each entry; of an even number the mean of the two in the middle."""
    return _by_blocks(vectors, _middle)


def trimmed_mean(vectors: Sequence[Vector]) -> Matrix:
    """Return the mean (P,) of each entry without its largest and smallest quarter."""
    cut = max(1, len(vectors) // 4) if len(vectors) >= LEAST else 0
    return _by_blocks(
        vectors, lambda block_MB: _mean(np.sort(block_MB, axis=0)[cut or None : -cut or None])
    )


def geometric_median(vectors: Sequence[Vector]) -> Matrix:
    """Return the point (P,) whose distances to all vectors have nearly the smallest sum."""
    centre = coordinate_median(vectors)
    for _ in range(STEPS):
        away = distances(vectors, centre)
        least = _NEAR * statistics.median(away)
        if not any(away):
            return centre
        weights = [1 / max(each, least) if least else float(each == 0) for each in away]
        centre = weighted_mean(vectors, weights)
    return centre


def weighted_mean(vectors: Sequence[Vector], weights: Sequence[float]) -> Matrix:
    """Return the mean (P,) of vectors, added one after the other."""
    total = np.zeros(len(vectors[0]))
    for vector_P, weight in zip(vectors, weights, strict=True):
        total += weight * vector_P.astype(np.float64)
    found: Matrix = total / sum(weights)
    return found


def distances(vectors: Sequence[Vector], centre_P: Matrix) -> list[float]:
    """Return each vector's Euclidean distance to a centre."""
    rows = max(1, _CELLS // max(1, min(_BLOCK, len(centre_P))))
    some = (vectors[start : start + rows] for start in range(0, len(vectors), rows))
    return [away for each in some for away in _distances(each, centre_P)]


def _distances(vectors: Sequence[Vector], centre_P: Matrix) -> list[float]:
    squares = np.zeros(len(vectors))
    for part in _parts(len(centre_P), _BLOCK):
        squares += _halved(np.square(_stacked(vectors, part) - centre_P[part]))
    return [float(each) for each in np.sqrt(squares)]


def times_the_median(away: Sequence[float], centre_P: Matrix) -> list[float]:
    """Return distances as times of their median; where that is 0, of the centre's length.

    Where that is 0, too, there is nothing to compare with, and all are 1.
    """
    (length,) = distances([centre_P], np.zeros(len(centre_P)))
    scale = statistics.median(away) or length
    return [each / scale if scale else 1.0 for each in away]


def reach(count: int) -> float:
    """Return how many times the median a distance may be, of so many."""
    return REACH if count >= FEW else REACH_OF_FEW


def clipped(vectors: Sequence[Vector], centre_P: Matrix) -> list[Vector | None]:
    """Return vectors as they are, pulled in, or None for what is far beyond reach or opposed.

    A vector is opposed where its cosine to the centre is below minus half of the cohort's median
    cosine: it has the opposite sign.

    Args:
        vectors: one a client.
        centre_P: the cohort's median.
    """
    away = distances(vectors, centre_P)
    cosines = _cosines(distances(vectors, np.zeros(len(centre_P))), away, centre_P)
    least = -statistics.median(cosines) / 2
    opposed = [least < 0 and each < least for each in cosines]
    found = pulled_in(vectors, centre_P, away)
    return [None if out else each for each, out in zip(found, opposed, strict=True)]


def shortened(vectors: Sequence[Vector], lengths: Sequence[float]) -> list[Vector]:
    """Return vectors of which those that are too long have the median length.

    Args:
        vectors: one a client.
        lengths: theirs.
    """
    origin, most = np.zeros(len(vectors[0])), length_reach(len(vectors))
    return [
        vector if times <= most else _between(origin, vector, 1 / times)
        for vector, times in zip(vectors, times_the_median(lengths, origin), strict=True)
    ]


def length_reach(count: int) -> float:
    """Return how many times the median length a vector may have, of so many."""
    return LENGTH if count >= FEW else REACH_OF_FEW


def opposed(vectors: Sequence[Vector], lengths: Sequence[float]) -> list[bool]:
    """Return which vectors point the other way from a cohort that is of one mind.

    A vector does where its cosine to the mean of all directions is below minus half of the median
    cosine. However long a vector is, its direction counts as much as any other's.

    Args:
        vectors: one a client.
        lengths: theirs.
    """
    shares = [1 / each if each else 0.0 for each in lengths]
    if not any(shares):
        return [False] * len(vectors)
    mean_P = weighted_mean(vectors, shares) * (sum(shares) / sum(each > 0 for each in shares))
    units = [vector_P * share for vector_P, share in zip(vectors, shares, strict=True)]
    cosines = _cosines([float(each > 0) for each in lengths], distances(units, mean_P), mean_P)
    middle = statistics.median(cosines)
    return [middle >= AGREED and each < -middle / 2 for each in cosines]


def pulled_in(
    vectors: Sequence[Vector], centre_P: Matrix, away: Sequence[float]
) -> list[Vector | None]:
    """Return vectors of which none is out of reach.

    What was is at the median distance; None for what is so far that there is no doubt.

    Args:
        vectors: one a client.
        centre_P: what they are pulled to.
        away: their distances to it.
    """
    most = reach(len(vectors))
    found: list[Vector | None] = []
    for vector, times in zip(vectors, times_the_median(away, centre_P), strict=True):
        near = vector if times <= most else _between(centre_P, vector, 1 / times)
        found.append(None if times > max(most, DOUBT) else near)
    return found


def _cosines(lengths: Sequence[float], away: Sequence[float], centre_P: Matrix) -> list[float]:
    """Return the cosines of vectors to a centre, by the law of cosines; 0 where one has no length.

    Args:
        lengths: of the vectors.
        away: their distances to the centre.
        centre_P: the centre.
    """
    (middle,) = distances([centre_P], np.zeros(len(centre_P)))
    return [
        (each**2 + middle**2 - gap**2) / (2 * each * middle) if each and middle else 0.0
        for each, gap in zip(lengths, away, strict=True)
    ]


def _between(centre_P: Matrix, vector_P: Vector, share: float) -> Vector:
    moved: Matrix = centre_P + share * (vector_P.astype(np.float64) - centre_P)
    return moved.astype(vector_P.dtype)


def krum_chosen(vectors: Sequence[Vector]) -> list[bool]:
    """Return which vectors Multi-Krum keeps: M - f - 2 of them, f the most that it stands.

    A vector's score is the sum of the squared distances to its M - f - 2 nearest others, f half of
    M - 3; of equal scores the first counts.
    """
    count = len(vectors)
    if count < LEAST:
        return [True] * count
    kept = max(1, count - (count - 3) // 2 - 2)
    squares = _pairwise(vectors)
    scores = [sum(sorted(np.delete(row, place))[:kept]) for place, row in enumerate(squares)]
    best = sorted(range(count), key=lambda place: (scores[place], place))[:kept]
    return [place in best for place in range(count)]


def _pairwise(vectors: Sequence[Vector]) -> Matrix:
    """Return all squared distances (M, M)."""
    found = np.zeros((len(vectors), len(vectors)))
    for place, vector_P in enumerate(vectors[:-1]):
        others = vectors[place + 1 :]
        squares = np.square(distances(others, vector_P.astype(np.float64)))
        found[place, place + 1 :] = found[place + 1 :, place] = squares
    return found


def _middle(block_MB: Matrix) -> Matrix:
    low, high = (len(block_MB) - 1) // 2, len(block_MB) // 2
    ordered = np.partition(block_MB, [low, high], axis=0)
    found: Matrix = (ordered[low] + ordered[high]) / 2
    return found


def _mean(block_MB: Matrix) -> Matrix:
    total = np.zeros(block_MB.shape[1])
    for row in block_MB:
        total += row
    found: Matrix = total / len(block_MB)
    return found


def _by_blocks(vectors: Sequence[Vector], rule: Callable[[Matrix], Matrix]) -> Matrix:
    """Return what a rule makes of each entry's M values, some entries at a time."""
    parts = _parts(len(vectors[0]), max(1, _CELLS // len(vectors)))
    made = [rule(_stacked(vectors, part)) for part in parts]
    return np.concatenate(made) if made else np.zeros(0)


def _parts(entries: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, entries, size))


def _stacked(vectors: Sequence[Vector], part: slice) -> Matrix:
    """Return a part of all vectors; -0 is 0, which sorting would not tell from it."""
    found: Matrix = np.stack([each[part] for each in vectors]).astype(np.float64) + 0.0
    return found


def _halved(block_MB: Matrix) -> Matrix:
    """Return the sum (M,) of each row, by halves."""
    while block_MB.shape[1] > 1:
        half = (block_MB.shape[1] + 1) // 2
        rest = block_MB[:, half:]
        block_MB = block_MB[:, :half].copy()
        block_MB[:, : rest.shape[1]] += rest
    found: Matrix = block_MB.sum(1)
    return found
