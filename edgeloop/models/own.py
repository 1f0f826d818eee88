"""A person's own networks as architectures: a class, a function or a module that makes logits.

Such a network is a whole classifier, inputs to logits (B, C). It is taken apart at the linear layer
that makes its output: what is before it is the base, and it is the head, with the weights that the
network came with.

Shape suffixes: B samples, D features, C classes.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgeloop.errors import EdgeloopError, ModelError

Shape = tuple[int, ...]

_LOGITS = "have its forward return what its last nn.Linear makes, the logits, with nothing behind"


def maker(made: object) -> Callable[[Shape, int], nn.Module]:
    """Return what makes the network of a shape of inputs and C.

    Args:
        made: a class of modules, a function that returns one, or a module, which is copied.

    Raises:
        TypeError: if it is none of these.
    """
    if isinstance(made, nn.Module):
        return lambda shape, classes: copy.deepcopy(made)
    if not callable(made):
        raise TypeError("it is no Architecture, no class of modules and no function")
    return partial(_call, made)


def _call(made: Callable[..., Any], shape: Shape, classes: int) -> nn.Module:
    """Call a class or a function with those of its parameters that edgeloop knows by name.

    Raises:
        ModelError: if it needs others, fails, or returns no module.
    """
    facts: Mapping[str, Any] = {
        **dict.fromkeys(("shape", "input_shape"), shape),
        **dict.fromkeys(("classes", "num_classes", "n_classes"), classes),
        **dict.fromkeys(("channels", "in_channels"), shape[0]),
    }
    name = getattr(made, "__name__", "model")
    parameters = inspect.signature(made).parameters
    unknown = [
        each.name
        for each in parameters.values()
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in facts
    ]
    if unknown:
        problem = f"needs {', '.join(unknown)}, which edgeloop does not know"
        raise ModelError(name, problem, f"give defaults, or name them {', '.join(facts)}")
    with failing_as(name, "cannot be made"):
        network = made(**{key: value for key, value in facts.items() if key in parameters})
    if not isinstance(network, nn.Module):
        problem = f"made {type(network).__name__}, and no nn.Module"
        raise ModelError(name, problem, "return a module that makes logits")
    return network


class failing_as:  # noqa: N801 - a context manager, written as a function is
    """Say what a person's network raised, as a `ModelError` of its name.

    Args:
        name: of the network.
        problem: what could not be done.
    """

    def __init__(self, name: str, problem: str) -> None:
        self._name, self._problem = name, problem

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Translate what was raised."""
        if isinstance(error, Exception) and not isinstance(error, EdgeloopError):
            text = " ".join(str(error).split())[:200]
            problem = f"{self._problem} ({type(error).__name__}: {text})"
            raise ModelError(self._name, problem, "fix the network, or its data") from error


@torch.no_grad()
def take_apart(
    network: nn.Module, shape: Shape, classes: int | None, name: str
) -> tuple[nn.Module, nn.Linear]:
    """Return a classifier's base and head; together they are the network, weight for weight.

    Args:
        network: inputs (B, *shape) to logits (B, C); changed.
        shape: of one input.
        classes: C; None where it is not known yet.
        name: of the network, for messages.

    Raises:
        ModelError: if it fails on such an input, makes another output, has frozen parameters, or
            does not end in a linear layer with a bias.
    """
    outputs: dict[str, Tensor] = {}
    linears = {path: each for path, each in network.named_modules() if isinstance(each, nn.Linear)}
    hooks = [
        layer.register_forward_hook(partial(_note, outputs, path))
        for path, layer in linears.items()
    ]
    try:
        with failing_as(name, f"fails on an input of shape {shape}"):
            made = _pass(network, shape)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(made, Tensor) or made.ndim != 2 or made.shape[0] != 1:
        found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ModelError(name, f"makes {found} of one input, and no logits (1, C)", _LOGITS)
    if classes is not None and made.shape[1] != classes:
        problem = f"makes {made.shape[1]} logits, and the data have {classes} classes"
        raise ModelError(name, problem, "take the number of classes as an argument, `classes`")
    last = next((path for path, output in outputs.items() if output is made), None)
    if last is None:
        raise ModelError(name, "does not end in a linear layer", _LOGITS)
    head = linears[last]
    if frozen := [path for path, each in network.named_parameters() if not each.requires_grad]:
        problem = f"has frozen parameters, {', '.join(frozen[:3])}, and clients train all of them"
        raise ModelError(name, problem, "call requires_grad_() on it")
    if head.bias is None:
        raise ModelError(name, f"has no bias in its last layer, {last}", "give it one")
    return _without(network, last), head


def _note(outputs: dict[str, Tensor], path: str, _: Any, inputs: Any, output: Tensor) -> None:
    outputs[path] = output


def _pass(network: nn.Module, shape: Shape) -> Any:
    """Return what a network makes of zeros, in evaluation mode; its modes stay as they are."""
    modes = [(module, module.training) for module in network.modules()]
    device = next((each.device for each in network.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        made = network.eval()(torch.zeros(1, *shape, device=device))
    for module, training in modes:
        module.training = training
    return made


def _without(network: nn.Module, path: str) -> nn.Module:
    """Return a network that passes on what one of its layers got."""
    if not path:  # it is that layer
        return nn.Identity()
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network
