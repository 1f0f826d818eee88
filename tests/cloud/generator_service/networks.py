"""Small networks as StyleGAN files hold them: their own source beside their state, in a pickle."""

import importlib
import pickle
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.generator_service.stylegan import modules

_DENSE = """
@persistence.persistent_class
class Dense(torch.nn.Module):
    def __init__(self, inputs, outputs, act="linear", start=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs))
        self.bias = torch.nn.Parameter(torch.full([outputs], float(start)))
        self.scale, self.act = 1 / np.sqrt(inputs), act

    def forward(self, x):
        return bias_act.bias_act(x @ (self.weight * self.scale).t(), self.bias, act=self.act)


@persistence.persistent_class
class Mapping(torch.nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, num_ws):
        super().__init__()
        self.z_dim, self.c_dim, self.num_ws = z_dim, c_dim, num_ws
        if c_dim:
            self.embed = Dense(c_dim, z_dim)
        self.first = Dense(z_dim * (2 if c_dim else 1), w_dim, "lrelu")
        self.second = Dense(w_dim, w_dim, "lrelu")
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z, c, truncation_psi=1):
        misc.assert_shape(z, [None, self.z_dim])
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        if self.c_dim:
            misc.assert_shape(c, [None, self.c_dim])
            x = torch.cat([x, self.embed(c)], dim=1)
        return self.second(self.first(x)).unsqueeze(1).repeat([1, self.num_ws, 1])


@persistence.persistent_class
class Generator(torch.nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, *sizes, **options):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.synthesis = Synthesis(w_dim, *sizes, **options)
        self.mapping = Mapping(z_dim, c_dim, w_dim, self.synthesis.num_ws)
        self.options = dnnlib.EasyDict(sizes=sizes)
"""

STYLE2 = (
    """
import dnnlib
import numpy as np
import torch
from torch_utils import misc
from torch_utils import persistence
from torch_utils.ops import bias_act, conv2d_resample, fma, upfirdn2d


@misc.profiled_function
def convolve(x, weight, styles, noise, up, resample_filter, fused_modconv):
    n = x.shape[0]
    o, i, kh, kw = weight.shape
    misc.assert_shape(styles, [n, i])
    per_sample = weight.unsqueeze(0) * styles.reshape(n, 1, -1, 1, 1)
    power = (per_sample.square().sum(dim=[2, 3, 4]) + 1e-8).rsqrt()
    if not fused_modconv:
        x = x * styles.reshape(n, -1, 1, 1)
        x = conv2d_resample.conv2d_resample(
            x=x, w=weight, f=resample_filter, up=up, padding=kh // 2, flip_weight=(up == 1)
        )
        return fma.fma(x, power.reshape(n, -1, 1, 1), noise)
    with misc.suppress_tracer_warnings():
        n = int(n)
    per_sample = (per_sample * power.reshape(n, -1, 1, 1, 1)).reshape(n * o, i, kh, kw)
    x = x.reshape(1, n * i, *x.shape[2:])
    x = conv2d_resample.conv2d_resample(
        x=x, w=per_sample, f=resample_filter, up=up, padding=kh // 2, groups=n,
        flip_weight=(up == 1),
    )
    return x.reshape(n, o, *x.shape[2:]) + noise

"""
    + _DENSE
    + """

@persistence.persistent_class
class Layer(torch.nn.Module):
    def __init__(self, inputs, outputs, w_dim, size, up=1):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1)
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = torch.nn.Parameter(torch.randn(outputs))
        self.noise_strength = torch.nn.Parameter(torch.ones([]))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))
        self.up, self.size = up, size
        self.gain = bias_act.activation_funcs["lrelu"].def_gain

    def forward(self, x, w, noise_mode="random", fused_modconv=True):
        if noise_mode == "random":
            noise = torch.randn([x.shape[0], 1, self.size, self.size]) * self.noise_strength
        else:
            noise = self.noise_const * self.noise_strength
        x = convolve(
            x, self.weight, self.affine(w), noise, self.up, self.resample_filter, fused_modconv
        )
        return bias_act.bias_act(x, self.bias, act="lrelu", gain=self.gain, clamp=256)


@persistence.persistent_class
class Synthesis(torch.nn.Module):
    def __init__(self, w_dim, channels):
        super().__init__()
        self.num_ws, self.w_dim = 3, w_dim
        self.const = torch.nn.Parameter(torch.randn(channels, 4, 4))
        self.first = Layer(channels, channels, w_dim, 4)
        self.second = Layer(channels, channels, w_dim, 8, up=2)
        self.colour = torch.nn.Parameter(torch.randn(3, channels, 1, 1) * 0.3)
        self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))

    def forward(self, ws, force_fp32=False, **options):
        misc.assert_shape(ws, [None, self.num_ws, self.w_dim])
        x = self.const.unsqueeze(0).repeat([ws.shape[0], 1, 1, 1])
        x = self.first(x, ws[:, 0], **options)
        image = conv2d_resample.conv2d_resample(x, self.colour)
        x = self.second(x, ws[:, 1], **options)
        image = upfirdn2d.upsample2d(image, self.resample_filter)
        return image + conv2d_resample.conv2d_resample(x, self.colour)
"""
)

STYLE3 = (
    """
import dnnlib
import numpy as np
import scipy.optimize
import scipy.signal
import torch
from torch_utils import misc
from torch_utils import persistence
from torch_utils.ops import bias_act, conv2d_gradfix, filtered_lrelu, upfirdn2d


@misc.profiled_function
def modulated_conv2d(x, w, s, demodulate=True, padding=0, input_gain=None):
    with misc.suppress_tracer_warnings():
        n = int(x.shape[0])
    o, i, kh, kw = w.shape
    if demodulate:
        w = w / w.square().mean([1, 2, 3], keepdim=True).sqrt()
        s = s / s.square().mean().sqrt()
    w = w.unsqueeze(0) * s.reshape(n, 1, i, 1, 1)
    if demodulate:
        w = w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    if input_gain is not None:
        w = w * input_gain.expand(n, i).reshape(n, 1, i, 1, 1)
    x = x.reshape(1, n * i, *x.shape[2:])
    x = conv2d_gradfix.conv2d(x, w.reshape(n * o, i, kh, kw), padding=padding, groups=n)
    return x.reshape(n, o, *x.shape[2:])

"""
    + _DENSE
    + """

@persistence.persistent_class
class Waves(torch.nn.Module):
    def __init__(self, w_dim, channels, size):
        super().__init__()
        self.size = np.broadcast_to(np.asarray(size), [2])
        self.rate = np.float64(size)
        self.affine = Dense(w_dim, 4, start=1)
        self.register_buffer("freqs", torch.randn(channels, 2))
        self.register_buffer("phases", torch.rand(channels))

    def forward(self, w):
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        turn = torch.eye(3, device=w.device).unsqueeze(0).repeat([w.shape[0], 1, 1])
        turn[:, 0, 0] = t[:, 0]
        turn[:, 0, 1] = -t[:, 1]
        turn[:, 1, 0] = t[:, 1]
        turn[:, 1, 1] = t[:, 0]
        turn[:, 0, 2] = -t[:, 2]
        freqs = self.freqs.unsqueeze(0)
        phases = self.phases.unsqueeze(0) + (freqs @ turn[:, :2, 2:]).squeeze(2)
        freqs = freqs @ turn[:, :2, :2]
        strength = (2 - freqs.norm(dim=2) / 4).clamp(0, 1)
        theta = torch.eye(2, 3, device=w.device)
        theta[0, 0] = 0.5 * self.size[0] / self.rate
        theta[1, 1] = 0.5 * self.size[1] / self.rate
        grid = torch.nn.functional.affine_grid(
            theta.unsqueeze(0), [1, 1, self.size[1], self.size[0]], align_corners=False
        )
        x = (grid.unsqueeze(3) @ freqs.permute(0, 2, 1).unsqueeze(1).unsqueeze(2)).squeeze(3)
        x = torch.sin((x + phases.unsqueeze(1).unsqueeze(2)) * (np.pi * 2))
        return (x * strength.unsqueeze(1).unsqueeze(2)).permute(0, 3, 1, 2).contiguous()


@persistence.persistent_class
class Layer(torch.nn.Module):
    def __init__(self, inputs, outputs, w_dim, rgb):
        super().__init__()
        self.affine = Dense(w_dim, inputs, start=1)
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs, *([1, 1] if rgb else [3, 3])))
        self.bias = torch.nn.Parameter(torch.randn(outputs))
        self.register_buffer("magnitude_ema", torch.ones([]) * 2)
        taps = torch.tensor([1.0, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1])
        self.register_buffer("taps", upfirdn2d.setup_filter(taps))
        self.rgb = rgb

    def forward(self, x, w, noise_mode="random", force_fp32=False, update_emas=False):
        gain = self.magnitude_ema.rsqrt()
        style = self.affine(w) * (0.1 if self.rgb else 1)
        x = modulated_conv2d(
            x, w=self.weight, s=style, demodulate=not self.rgb, padding=0 if self.rgb else 1,
            input_gain=gain,
        )
        if self.rgb:
            return bias_act.bias_act(x, self.bias)
        return filtered_lrelu.filtered_lrelu(
            x=x, fu=self.taps, fd=self.taps, b=self.bias, up=4, down=2, padding=[9, 10, 9, 10],
            gain=np.sqrt(2), slope=0.2, clamp=256,
        )


@persistence.persistent_class
class Synthesis(torch.nn.Module):
    def __init__(self, w_dim, channels):
        super().__init__()
        self.num_ws = 3
        self.waves = Waves(w_dim, channels, 6)
        self.first = Layer(channels, channels, w_dim, False)
        self.last = Layer(channels, 3, w_dim, True)

    def forward(self, ws, **options):
        w0, w1, w2 = ws.unbind(dim=1)
        return self.last(self.first(self.waves(w0), w1, **options), w2, **options) * 0.5
"""
)


def build(source: str, c_dim: int = 0, **options: Any) -> nn.Module:
    """Return a random network of a source: 6 noise entries, w of 5; call it within `installed`."""
    module = types.ModuleType("networks_source")
    exec(compile(source, "networks_source", "exec"), module.__dict__)  # noqa: S102  # the test's own
    module.__dict__["SOURCE"] = source
    torch.manual_seed(0)
    network = module.__dict__["Generator"](6, c_dim, 5, 4, **options)
    assert isinstance(network, nn.Module)
    return network.eval()


def write(path: Path, network: nn.Module, source: str, **others: object) -> None:
    """Write a pickle of a network as `G_ema`, and of other things beside it."""
    persistence = importlib.import_module("torch_utils.persistence")
    persistence.__dict__["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    with path.open("wb") as file:
        writer = _Writer(file, protocol=4)
        writer.source = source
        writer.dump({"G": None, "D": None, "G_ema": network, **others})


def write_random(path: Path, source: str, c_dim: int = 0, **others: object) -> nn.Module:
    """Write a pickle of a random network; return the network."""
    with modules.installed():
        network = build(source, c_dim)
        write(path, network, source, **others)
    return network


class _Writer(pickle.Pickler):
    source = ""

    def reducer_override(self, value: object) -> Any:
        """Pickle what has a source of its own as source and state."""
        if type(value).__module__ != "networks_source":
            return NotImplemented
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": type(value).__name__,
            "state": value.__dict__,
        }
        return _reconstruct_persistent_obj, (meta,)


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> object:
    raise NotImplementedError


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
