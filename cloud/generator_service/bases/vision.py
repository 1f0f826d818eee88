"""torchvision's pre-trained networks as extractors: their weights from this machine, never fetched.

The last layer is cut away; size, mean and deviation are those of the weights' own transforms. An
image is resized as a whole, where torchvision resizes it larger and cuts the middle out.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeloop.errors import BaseError, ConfigError, ModelError, choose
from edgeloop.models.tracing import trace_graph
from edgeloop.models.vision import library
from edgeloop.runtime import atomic_files

_UNUSED = ("aux", "AuxLogits")
"""What only training asks for: GoogLeNet's and Inception's further classifiers."""
_PLAIN = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
_NOT_EXPORTED = (
    *(RuntimeError, TypeError, ValueError, AssertionError),
    torch.onnx.errors.OnnxExporterError,
)
_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Network:
    """A network of torchvision's with weights.

    Attributes:
        name: torchvision's.
        weights: the file with them.
        size: of an image, height and width, by the weights' transforms.
        mean: taken off each colour, of values in [0, 1].
        std: that each colour is then divided by.
        source: where the weights come from, in words.
        model: in evaluation mode, without its last layer.
    """

    name: str
    weights: Path
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    model: nn.Module

    def exported(self, size: tuple[int, int]) -> bytes:
        """Return it as an ONNX file's bytes: (N, 3, *size) to (N, F).

        Raises:
            BaseError: if it reads no images of that size.
        """
        example = torch.zeros(2, 3, *size)
        try:
            # with gradients: without, attention takes a way that ONNX has no operator for
            made = trace_graph(self.model, (example,), ["images"], "features")
        except _NOT_EXPORTED as error:
            reason = " ".join(str(error).split())[:200]
            problem = f"cannot be exported for images of {size[0]}x{size[1]} ({reason})"
            raise BaseError(self.name, problem, "leave --size out") from error
        return bytes(made.SerializeToString(deterministic=True))


def network(name: str, weights: Path | None = None) -> Network:
    """Return one of torchvision's networks for images, with weights from this machine.

    Args:
        name: torchvision's, for instance resnet18.
        weights: a file with its state dict; None for torch hub's cache.

    Raises:
        BaseError: if its weights are not there, damaged, or another network's.
        ConfigError: if there is no such network.
        ModelError: if torchvision is not installed, or does not suit this torch.
    """
    models = library(f"--torchvision {name}")
    known: list[str] = models.list_models(module=models)
    if name not in known:
        raise ConfigError("--torchvision", f"there is no {name!r}", choose(name, known))
    entries = list(models.get_model_weights(name))
    default = models.get_model_weights(name).DEFAULT
    entries = [default, *(each for each in entries if each is not default)]
    path = weights or _cached(name, entries)
    entry = next((each for each in entries if _file(each) == path.name), default)
    model, classifier = _without_classifier(models, name)
    _load(model, _state(path), classifier, name, path)
    preset = entry.transforms()
    asked = _sides(preset.crop_size), tuple(preset.mean), tuple(preset.std)
    source = f"torchvision {name}, {path.name}"
    return Network(name, path, *asked, source, _Flat(model).eval())


class _Flat(nn.Module):
    """A network's numbers, a row for each image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.model(images)
        return made.flatten(1)


def _file(entry: Any) -> str:
    return str(entry.url).rpartition("/")[2]


def _sides(size: Any) -> tuple[int, int]:
    sides = [size] if isinstance(size, int) else list(size)
    return int(sides[0]), int(sides[-1])


def _cached(name: str, entries: list[Any]) -> Path:
    """Return the file in torch hub's cache."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for entry in entries:
        if (folder / _file(entry)).is_file():
            return folder / _file(entry)
    problem = f"torchvision's weights of {name} are not on this machine, and nothing is fetched"
    remedy = f"fetch {entries[0].url} into {folder}, or give --weights FILE"
    raise BaseError("--torchvision", problem, remedy)


def _state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, which holds tensors only."""
    try:
        _check_digest(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror or error})"
        raise BaseError("--weights", problem, "name a file with a state dict") from error
    except BaseError:
        raise
    except Exception as error:  # torch's and pickle's exceptions have no common base but Exception
        problem = f"{path} holds no plain tensors ({' '.join(str(error).split())[:120]})"
        raise BaseError("--weights", problem, "save the model's state_dict() again") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(e, Tensor) for e in found.values()):
        raise BaseError("--weights", f"{path} is no state dict", "save the model's state_dict()")
    return {str(key): value for key, value in found.items()}


def _check_digest(path: Path) -> None:
    """Refuse a damaged file of torchvision's: its name says how its SHA-256 begins."""
    said = _DIGEST.search(path.name)
    digest = atomic_files.digest(path)
    if said is not None and not digest.startswith(said[1]):
        problem = f"{path} is damaged: its SHA-256 begins with {digest[:8]}, not as its name says"
        raise BaseError("--weights", problem, "fetch it again")


def _without_classifier(models: Any, name: str) -> tuple[nn.Module, str]:
    """Return an untrained network without its last layer, and that layer's path."""
    model: nn.Module = models.get_model(name, weights=None, **_PLAIN.get(name, {}))
    if hasattr(model, "transform_input"):
        setattr(model, "transform_input", True)  # noqa: B010 - what the weights of these were trained with
    last, part = list(model.named_children())[-1]
    layers = {".".join(filter(None, (last, path))): each for path, each in part.named_modules()}
    found = [path for path, each in layers.items() if isinstance(each, nn.Linear | nn.Conv2d)]
    if not found:
        raise ModelError(
            name, "has no last layer that can be cut away", "export it to ONNX yourself"
        )
    model.set_submodule(found[-1], nn.Identity())
    return model, found[-1]


def _load(
    model: nn.Module, state: dict[str, Tensor], classifier: str, name: str, path: Path
) -> None:
    """Give a network its weights, whatever number of classes they were trained for."""
    kept = {
        key: value
        for key, value in state.items()
        if not key.startswith((f"{classifier}.", *_UNUSED))
    }
    wanted = {
        key: value for key, value in model.state_dict().items() if not key.startswith(_UNUSED)
    }
    missing = [key for key in wanted if key not in kept]
    further = [key for key in kept if key not in wanted]
    other = [key for key in wanted if key in kept and kept[key].shape != wanted[key].shape]
    if wrong := [*missing, *further, *other]:
        problem = f"{path} has no weights of {name}: {len(wrong)} differ, {wrong[0]} for instance"
        raise BaseError("--weights", problem, "name the network that they are of")
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in kept:
                value.copy_(kept[key])
