"""Reads a StyleGAN file: a pickle of networks that bring their own source. Run it only on trust.

The pickle itself may name nothing but tensors, arrays and torch's own layers. The networks' source
is run all the same, so that the caller is a process of its own, and its user trusts the file.
"""

import codecs
import collections
import copyreg
import inspect
import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cloud.generator_service.stylegan import ops
from cloud.generator_service.stylegan.modules import EasyDict
from edgeloop.errors import GeneratorError

KEY = "G_ema"
"""Where such a file keeps the generator whose weights are averages over training."""


class Stored:
    """A network as the file has it; it is built when it is needed, so that others never are.

    Args:
        meta: type, version, module_src, class_name and state.
    """

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta
        self.built: Any = None


class Unknown:
    """Stands for an object whose class is not allowed; nothing of it is run.

    Args:
        content: what its class would have been called with; not kept.
    """

    name = ""

    def __init__(self, *content: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        """Keep nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def read(path: Path) -> nn.Module:
    """Return a file's generator.

    Raises:
        GeneratorError: if it holds none.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file).load()
    except OSError as error:
        raise GeneratorError(
            path.name, f"cannot be read ({error.strerror})", "name a file"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise GeneratorError(path.name, f"is no StyleGAN file ({reason})", _REMEDY) from error
    found = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(found, Stored):
        problem = f"holds no {KEY!r} that brings its own source"
        raise GeneratorError(path.name, problem, _REMEDY)
    network = _Builder(path.name).build(found)
    if not isinstance(network, nn.Module):
        raise GeneratorError(path.name, f"its {KEY!r} is no network", _REMEDY)
    return network.cpu().float().eval().requires_grad_(False)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a global stands for; another than those below is `Unknown`."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module.partition(".")[0] == "dnnlib" and name == "EasyDict":
            return EasyDict
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.startswith("torch.nn.modules.") and name.isidentifier():
            layer = getattr(super().find_class("torch", "nn"), name, None)
            if isinstance(layer, type) and issubclass(layer, nn.Module):
                return layer
        return type("Unknown", (Unknown,), {"name": f"{module}.{name}"})


class _Builder:
    """Builds networks from their own source, each source's module once."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._modules: dict[str, types.ModuleType] = {}

    def build(self, value: Any) -> Any:
        """Return a value with the networks in it built."""
        if isinstance(value, Stored):
            if value.built is None:
                value.built = self._network(value.meta)
            return value.built
        if isinstance(value, Unknown):
            problem = f"its generator holds a {value.name}, which is not allowed"
            raise GeneratorError(self._field, problem, _REMEDY)
        if isinstance(value, dict):
            for key in value:
                value[key] = self.build(value[key])
        elif isinstance(value, list):
            value[:] = [self.build(item) for item in value]
        elif isinstance(value, tuple) and type(value) is tuple:
            return tuple(self.build(item) for item in value)
        elif isinstance(value, nn.Module):
            self.build(value.__dict__)
        return value

    def _network(self, meta: dict[str, Any]) -> Any:
        if meta.get("type") != "class" or not isinstance(meta.get("module_src"), str):
            raise GeneratorError(self._field, "holds an object that is no class", _REMEDY)
        made_from = getattr(self._module(meta["module_src"]), meta["class_name"])
        network = made_from.__new__(made_from)
        state = {key: part for key, part in meta["state"].items() if key not in _CONSTRUCTION}
        state = self.build(state)
        if hasattr(network, "__setstate__"):
            network.__setstate__(state)
        else:
            network.__dict__.update(state)
        return network

    def _module(self, source: str) -> types.ModuleType:
        if source not in self._modules:
            module = types.ModuleType(f"_stylegan_{len(self._modules)}")
            sys.modules[module.__name__] = module
            exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102  # on trust
            _share_convolution(module)
            self._modules[source] = module
        return self._modules[source]


def _share_convolution(module: types.ModuleType) -> None:
    """Replace StyleGAN3's convolution, which has a group a sample, by one for any batch."""
    convolve = getattr(module, "modulated_conv2d", None)
    if callable(convolve) and list(inspect.signature(convolve).parameters)[:3] == ["x", "w", "s"]:
        module.__dict__["modulated_conv2d"] = ops.modulated_conv2d


def _load_storage(content: bytes) -> Any:
    """Return the storage within a tensor's pickle, on the CPU."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


_CONSTRUCTION = ("_init_args", "_init_kwargs")
"""What a network was made with: it is not made again."""
_REMEDY = "name a file of StyleGAN2-ada (PyTorch), StyleGAN3 or StyleGAN-XL"
_PLAIN = (bool, bytearray, complex, dict, float, int, list, object, set, slice, str, tuple)
_ARRAY, _NUMBER = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
_KNOWN: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Stored,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]  # undeclared
    ("_codecs", "encode"): codecs.encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _ARRAY for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _NUMBER for core in ("core", "_core")},
    **{("builtins", kind.__name__): kind for kind in _PLAIN},
}
