"""How alike two images are, and which reconstruction is of which victim.

Pixels lie in [0, 1] throughout, so that the peak of a PSNR is 1.

Shape suffixes: N images, M other ones.
"""

import math

import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-10
"""The smallest mean squared error that counts: no PSNR is above 100 dB."""
WINDOW = 7
STABILISERS = (0.01**2, 0.03**2)


def psnr(images_N: Tensor, others_M: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of every pair, (N, M) in dB.

    10 log10(1 / MSE), the mean being over colours and pixels; at most 100.

    Args:
        images_N: (N, C, H, W) in [0, 1].
        others_M: (M, C, H, W) in [0, 1].
    """
    gaps = images_N.flatten(1).double().unsqueeze(1) - others_M.flatten(1).double().unsqueeze(0)
    return -10 * gaps.square().mean(dim=2).clamp(min=FLOOR).log10()


def ssim(images_N: Tensor, others_N: Tensor) -> Tensor:
    """Return the structural similarity of each pair (N,): 1 for equal images, 0 for strangers.

    Uniform windows of 7 x 7 pixels, population variances; the mean over windows and colours.

    Args:
        images_N: (N, C, H, W) in [0, 1]; H and W at least 7.
        others_N: likewise.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004.
    """
    x, y = images_N.double(), others_N.double()
    mean_x, mean_y = _smoothed(x), _smoothed(y)
    var_x, var_y = _smoothed(x * x) - mean_x**2, _smoothed(y * y) - mean_y**2
    shared = _smoothed(x * y) - mean_x * mean_y
    light, contrast = STABILISERS
    above = (2 * mean_x * mean_y + light) * (2 * shared + contrast)
    below = (mean_x**2 + mean_y**2 + light) * (var_x + var_y + contrast)
    return (above / below).flatten(1).mean(dim=1)


def _smoothed(images_N: Tensor) -> Tensor:
    return F.avg_pool2d(images_N, WINDOW, stride=1)


def match_pairs(scores_NN: Tensor) -> list[int]:
    """Return for each row the column it is paired with, each column once: the best pair first.

    A batch has no order, so that any reconstruction may be of any victim.

    Args:
        scores_NN: the higher, the more alike.
    """
    left = scores_NN.clone()
    columns = [0] * len(left)
    for _ in range(len(left)):
        row, column = divmod(int(left.argmax()), len(left))
        columns[row] = column
        left[row], left[:, column] = -math.inf, -math.inf
    return columns


def as_pixels(inputs_N: Tensor) -> Tensor:
    """Return a model's inputs, in [-1, 1], as pixels in [0, 1]; what is outside is clipped."""
    return ((inputs_N + 1) / 2).clamp(0, 1)


def as_inputs(pixels_N: Tensor) -> Tensor:
    """Return pixels as a model reads them, in [-1, 1]."""
    return pixels_N * 2 - 1


def mean_of(values: Tensor) -> float:
    """Return the mean as a number."""
    return float(values.double().mean())
