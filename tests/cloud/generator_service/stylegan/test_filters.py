import numpy as np
import pytest
import torch
from torch import Tensor

from cloud.generator_service.stylegan import filters


def by_hand(
    image: list[list[float]], taps: list[list[float]], up: int, down: int, pad: int, gain: float
) -> list[list[float]]:
    """Upsample, pad, convolve and downsample one grey image, pixel by pixel."""
    height, width = len(image) * up, len(image[0]) * up
    wide = np.zeros((height + 2 * pad, width + 2 * pad))
    for y, row in enumerate(image):
        for x, value in enumerate(row):
            wide[y * up + pad, x * up + pad] = value
    rows, columns = len(taps), len(taps[0])
    out = []
    for y in range(0, wide.shape[0] - rows + 1, down):
        line = []
        for x in range(0, wide.shape[1] - columns + 1, down):
            total = 0.0
            for j in range(rows):
                for i in range(columns):
                    total += wide[y + j, x + i] * taps[rows - 1 - j][columns - 1 - i]
            line.append(total * gain)
        out.append(line)
    return out


IMAGE = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]]
TAPS = [[1.0, 2.0], [3.0, 5.0]]


def grey(rows: list[list[float]]) -> Tensor:
    return torch.tensor([[rows]], dtype=torch.float32)


@pytest.mark.parametrize(
    ("up", "down", "pad"), [(1, 1, 0), (2, 1, 0), (1, 2, 0), (2, 3, 1), (3, 2, 2)]
)
def test_upfirdn2d_is_the_loop_written_out(up: int, down: int, pad: int) -> None:
    got = filters.upfirdn2d(grey(IMAGE), torch.tensor(TAPS), up, down, pad, gain=0.5)
    torch.testing.assert_close(got, grey(by_hand(IMAGE, TAPS, up, down, pad, 0.5)))


def test_margins_are_left_right_top_bottom_and_crop_if_negative() -> None:
    got = filters.upfirdn2d(grey(IMAGE), None, padding=[1, -1, -2, 0])
    assert got.tolist() == [[[[0.0, 7.0, 8.0]]]]


def test_factors_are_along_x_and_y() -> None:
    got = filters.upfirdn2d(grey([[1.0, 2.0]]), None, up=[2, 1])
    assert got.tolist() == [[[[1.0, 0.0, 2.0, 0.0]]]]


def test_a_flipped_filter_correlates() -> None:
    taps = torch.tensor([[1.0, 2.0]])
    image = grey([[1.0, 10.0, 100.0]])
    assert filters.upfirdn2d(image, taps).tolist() == [[[[12.0, 120.0]]]]
    assert filters.upfirdn2d(image, taps, flip_filter=True).tolist() == [[[[21.0, 210.0]]]]


def test_a_filter_of_one_axis_serves_both() -> None:
    taps = torch.tensor([1.0, 2.0])
    both = torch.outer(taps, taps)
    image = torch.arange(50.0).reshape(1, 2, 5, 5)
    torch.testing.assert_close(
        filters.upfirdn2d(image, taps, 2, 1, 1, gain=3.0),
        filters.upfirdn2d(image, both, 2, 1, 1, gain=3.0),
    )


def test_every_channel_is_filtered_by_itself() -> None:
    image = torch.tensor([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]])
    got = filters.upfirdn2d(image, torch.tensor([[5.0]]))
    assert got.flatten().tolist() == [5.0, 10.0, 15.0, 20.0]


def test_setup_filter() -> None:
    assert filters.setup_filter([1, 3]).tolist() == [[0.0625, 0.1875], [0.1875, 0.5625]]
    assert filters.setup_filter([1, 3], separable=True, gain=4).tolist() == [0.5, 1.5]
    assert filters.setup_filter([1, 3], flip_filter=True, separable=True).tolist() == [0.75, 0.25]
    assert filters.setup_filter([[1, 3]], normalize=False, gain=2).tolist() == [[2.0, 6.0]]
    assert filters.setup_filter(None).tolist() == [[1.0]]
    assert filters.setup_filter(list(range(8))).ndim == 1


def test_resampled_images_have_their_size_and_brightness() -> None:
    image = torch.ones(1, 1, 6, 6)
    taps = filters.setup_filter([1, 3, 3, 1])
    larger = filters.upsample2d(image, taps)
    smaller = filters.downsample2d(image, taps)
    same = filters.filter2d(image, taps)
    assert [part.shape[2:] for part in (larger, smaller, same)] == [(12, 12), (3, 3), (6, 6)]
    torch.testing.assert_close(larger[0, 0, 2:-2, 2:-2], torch.ones(8, 8))
    torch.testing.assert_close(smaller[0, 0, 1:-1, 1:-1], torch.ones(1, 1))
    torch.testing.assert_close(same[0, 0, 2:-2, 2:-2], torch.ones(2, 2))


def test_upsampling_keeps_the_middle() -> None:
    larger = filters.upsample2d(grey([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]), torch.ones(2, 2) / 4)
    assert larger[0, 0].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert larger.unique().tolist() == [0.0, 1.0]
