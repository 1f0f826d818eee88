"""Stand-ins for the modules that the source within StyleGAN files imports."""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloud.generator_service.stylegan import filters, ops

ABSENT = ("legacy", "metrics", "metrics.metric_utils", "scipy", "scipy.optimize", "scipy.signal")
"""What the source imports, but uses in training only."""


class EasyDict(dict[str, Any]):
    """A dict whose items are attributes too."""

    __module__ = "dnnlib.util"  # where files look for it

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]


class Absent(ModuleType):
    """A module that is not there: it can be imported, and what is in it cannot be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_: Any, **__: Any) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is not needed to make images")

        return absent


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Have the stand-ins be imported while the block runs, instead of what may be installed."""
    stand_ins = _stand_ins()
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _stand_ins() -> dict[str, ModuleType]:
    operations: dict[str, Mapping[str, Any]] = {
        "bias_act": {"bias_act": ops.bias_act, "activation_funcs": ops.activation_funcs},
        "upfirdn2d": {name: getattr(filters, name) for name in _RESAMPLING},
        "conv2d_resample": {"conv2d_resample": ops.conv2d_resample},
        "conv2d_gradfix": _GRADFIX,
        "fma": {"fma": ops.fma},
        "filtered_lrelu": {"filtered_lrelu": ops.filtered_lrelu},
        "grid_sample_gradfix": {"grid_sample": F.grid_sample, "enabled": False},
    }
    found = {"torch_utils": ModuleType("torch_utils"), "dnnlib": ModuleType("dnnlib")}
    found["dnnlib.util"] = _module("dnnlib.util", {"EasyDict": EasyDict})
    found["dnnlib"].EasyDict = EasyDict  # type: ignore[attr-defined]  # a module made here
    found["torch_utils.misc"] = _module("torch_utils.misc", _MISC)
    found["torch_utils.persistence"] = _module("torch_utils.persistence", _PERSISTENCE)
    found["torch_utils.ops"] = ModuleType("torch_utils.ops")
    for name, content in operations.items():
        found[f"torch_utils.ops.{name}"] = _module(f"torch_utils.ops.{name}", content)
    absent = [name for name in ABSENT if importlib.util.find_spec(name.partition(".")[0]) is None]
    return _linked(found | {name: Absent(name) for name in absent})


def _module(name: str, content: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


def _linked(found: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """Make modules packages, and the attributes of those that they are in."""
    for name, module in found.items():
        module.__path__ = []
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(found[parent], own, module)
    return found


def _assert_shape(tensor: Tensor, shape: list[int | None]) -> None:
    """Check a tensor's shape; None fits any size. A trace's sizes are no numbers."""
    if torch.onnx.is_in_onnx_export():
        return
    fits = len(tensor.shape) == len(shape) and all(
        wanted is None or int(wanted) == size
        for size, wanted in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise AssertionError(f"a tensor of shape {list(tensor.shape)}, expected {shape}")


def _constant(value: Any, shape: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    tensor = torch.as_tensor(value, dtype=dtype, device=device)
    return tensor if shape is None else tensor.expand(shape)


def _itself(value: Any) -> Any:
    return value


def _tensors(module: torch.nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _named_tensors(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


@contextlib.contextmanager
def _no_weight_gradients(*_: Any, **__: Any) -> Iterator[None]:
    yield


_RESAMPLING = ("setup_filter", "upfirdn2d", "filter2d", "upsample2d", "downsample2d")
_GRADFIX: Mapping[str, Callable[..., Any]] = {
    "conv2d": F.conv2d,
    "conv_transpose2d": F.conv_transpose2d,
    "no_weight_gradients": _no_weight_gradients,
}
_MISC: Mapping[str, Callable[..., Any]] = {
    "assert_shape": _assert_shape,
    "constant": _constant,
    "nan_to_num": torch.nan_to_num,
    "profiled_function": _itself,
    "suppress_tracer_warnings": contextlib.nullcontext,
    "params_and_buffers": _tensors,
    "named_params_and_buffers": _named_tensors,
}
_PERSISTENCE: Mapping[str, Callable[..., Any]] = {"persistent_class": _itself}
