import pytest
import torch
from torch import Tensor

from simulations.privacy.similarity import as_inputs, as_pixels, match_pairs, psnr, ssim


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def test_psnr_by_hand() -> None:
    found = psnr(grey(0.0, 0.5), grey(0.5, 0.6, 1.0))
    # mean squared errors of 1/4, 9/25, 1 and 0, 1/100, 1/4; the peak is 1
    wanted = [[6.0206, 4.4370, 0.0], [100.0, 20.0, 6.0206]]
    assert torch.allclose(found, torch.tensor(wanted).double(), atol=1e-4)


def test_psnr_averages_the_error_and_not_the_decibels() -> None:
    half = torch.zeros(1, 1, 8, 8)
    half[..., :4] = 0.2  # half of the pixels are wrong by 0.2: 0.02
    assert float(psnr(half, grey(0.0))) == pytest.approx(16.9897, abs=1e-4)


def test_ssim_by_hand() -> None:
    dark, light = grey(0.2), grey(0.6)
    # without contrast only the light counts: (2 a b + 1e-4) / (a² + b² + 1e-4)
    assert float(ssim(dark, light)) == pytest.approx(0.2401 / 0.4001)
    pattern = (torch.arange(8).view(1, 1, 8, 1) + torch.arange(8)) % 2 * 1.0
    assert float(ssim(pattern, pattern)) == pytest.approx(1.0)
    assert float(ssim(pattern, 1 - pattern)) < -0.9


def test_each_victim_once_and_the_best_pair_first() -> None:
    scores = torch.tensor([[5.0, 9.0, 1.0], [8.0, 10.0, 2.0], [7.0, 3.0, 4.0]])
    assert match_pairs(scores) == [2, 1, 0]  # 10, then 7, then what is left


def test_pixels_and_inputs() -> None:
    inputs = torch.tensor([-1.5, -1.0, 0.0, 1.0])
    assert as_pixels(inputs).tolist() == [0.0, 0.0, 0.5, 1.0]
    assert as_inputs(as_pixels(inputs)).tolist() == [-1.0, -1.0, 0.0, 1.0]
