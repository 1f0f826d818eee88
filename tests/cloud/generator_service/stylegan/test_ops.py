import math

import pytest
import torch
import torch.nn.functional as F

from cloud.generator_service.stylegan import filters, ops

ROOT = math.sqrt(2)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("linear", [-2.0, 0.0, 3.0]),
        ("relu", [0.0, 0.0, 3 * ROOT]),
        ("lrelu", [-0.4 * ROOT, 0.0, 3 * ROOT]),
        ("tanh", [math.tanh(-2), 0.0, math.tanh(3)]),
        ("sigmoid", [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-3))]),
        ("elu", [math.exp(-2) - 1, 0.0, 3.0]),
        ("selu", [1.0507009873 * 1.6732632423 * (math.exp(-2) - 1), 0.0, 1.0507009873 * 3]),
        ("softplus", [math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(3))]),
        ("swish", [-2 * ROOT / (1 + math.exp(2)), 0.0, 3 * ROOT / (1 + math.exp(-3))]),
    ],
)
def test_activations_with_their_gains(act: str, expected: list[float]) -> None:
    got = ops.bias_act(torch.tensor([[-2.0, 0.0, 3.0]]), act=act)
    torch.testing.assert_close(got, torch.tensor([expected]))


def test_bias_then_activation_then_gain_then_clamp() -> None:
    x = torch.tensor([[1.0, -3.0]])
    bias = torch.tensor([1.0, 1.0])
    assert ops.bias_act(x, bias, act="lrelu", alpha=0.5, gain=3).tolist() == [[6.0, -3.0]]
    assert ops.bias_act(x, bias, act="lrelu", alpha=0.5, gain=3, clamp=4).tolist() == [[4.0, -3.0]]
    assert ops.bias_act(x, bias, clamp=-1).tolist() == [[2.0, -2.0]]


def test_bias_along_an_axis() -> None:
    x = torch.zeros(1, 2, 1, 2)
    assert ops.bias_act(x, torch.tensor([1.0, 2.0])).flatten().tolist() == [1, 1, 2, 2]
    assert ops.bias_act(x, torch.tensor([1.0, 2.0]), dim=3).flatten().tolist() == [1, 2, 1, 2]


def test_names_that_networks_look_up() -> None:
    assert ops.activation_funcs["lrelu"].def_gain == ROOT
    assert ops.activation_funcs["lrelu"].def_alpha == 0.2
    assert ops.activation_funcs["linear"].def_gain == 1


def test_fma() -> None:
    assert ops.fma(torch.tensor(2.0), torch.tensor(3.0), torch.tensor(4.0)).item() == 10.0


@pytest.mark.parametrize("up", [1, 2, 3])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("flip_weight", [True, False])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_resample_is_three_steps(
    up: int, down: int, flip_weight: bool, side: int, groups: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 6, 6, generator=generator)
    w = torch.randn(6, 4 // groups, side, side, generator=generator)
    taps = filters.setup_filter([1, 3, 3, 2])
    got = ops.conv2d_resample(
        x, w, taps, up, down, side // 2, groups=groups, flip_weight=flip_weight
    )
    # Centring on a filter of 4 taps: up 2 pads 2 and 1, up 3 pads 3 and 0; down 2 pads 1 and 1.
    before, behind = {1: (0, 0), 2: (2, 1), 3: (3, 0)}[up]
    before, behind = before + (down == 2), behind + (down == 2)
    margins = [before + side // 2, behind + side // 2] * 2
    step = filters.upfirdn2d(x, taps if up > 1 else None, up, padding=margins, gain=up**2)
    step = F.conv2d(step, w if flip_weight else w.flip([2, 3]), groups=groups)
    step = filters.upfirdn2d(step, taps, down=down) if down > 1 else step
    torch.testing.assert_close(got, step, atol=1e-4, rtol=1e-4)
    assert got.shape == (2, 6, 6 * up // down, 6 * up // down)


def test_filtered_lrelu_is_up_lrelu_down() -> None:
    x = torch.tensor([[[[1.0, -1.0]]]])
    got = ops.filtered_lrelu(
        x,
        fu=torch.tensor([[1.0, 1.0]]),
        fd=torch.tensor([[0.5, 0.5]]),
        b=torch.tensor([1.0]),
        up=2,
        down=2,
        padding=[1, 0, 0, 0],
        gain=2.0,
        slope=0.5,
        clamp=6.0,
    )
    # With the bias 2, 0; spread by 2 in both directions, times up * up: rows 8 0 0 0 and 0 0 0 0;
    # padded on the left and summed in pairs: 8 8 0 0; times 2 and clamped: 6 6 0 0; in pairs,
    # halved: 6 3 0; every second of them, and every second row.
    assert got.tolist() == [[[[6.0, 0.0]]]]


def test_filtered_lrelu_slopes_below_zero() -> None:
    got = ops.filtered_lrelu(torch.tensor([[[[-4.0]]]]), gain=1.0, slope=0.25)
    assert got.item() == -1.0


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_conv2d_scales_weights(demodulate: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w, s, gain = (
        torch.randn(shape, generator=generator)
        for shape in ((2, 3, 5, 5), (4, 3, 3, 3), (2, 3), (3,))
    )
    got = ops.modulated_conv2d(x, w, s, demodulate, padding=1, input_gain=gain)
    for sample in range(2):
        scaled = w * s[sample].reshape(1, 3, 1, 1)
        if demodulate:
            scaled = scaled / scaled.square().sum(dim=[1, 2, 3], keepdim=True).sqrt()
        alone = F.conv2d(x[sample : sample + 1], scaled * gain.reshape(1, 3, 1, 1), padding=1)
        torch.testing.assert_close(got[sample : sample + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("align_corners", [True, False])
def test_affine_grid_is_torchs(align_corners: bool) -> None:
    theta = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    torch.testing.assert_close(
        ops.affine_grid(theta, [2, 1, 3, 4], align_corners),
        F.affine_grid(theta, [2, 1, 3, 4], align_corners=align_corners),
    )
