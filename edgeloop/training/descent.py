"""How a client's model descends, where plain SGD is not wanted: optimiser, schedule, augmentation.

Each is named by a word, by the import path of a function, or is a function that a person gives.

    optimiser      sgd, adam, adamw, ... with arguments behind it: "sgd momentum=0.9"; a function
                   from parameters and a learning rate to a `torch.optim.Optimizer`
    schedule       constant, cosine, linear, exponential 0.99; a function from a round and the
                   number of rounds to a factor of the learning rate
    augmentation   flip, crop, flip+crop; a function from inputs (B, ...) to such inputs

An optimiser is new in each round, as its memory is of another model's steps.

Shape suffixes: B samples of a batch.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.batches import Descent
from edgeloop.errors import ConfigError, choose
from edgeloop.runtime.plugins import AUGMENTATIONS, OPTIMIZERS, SCHEDULES, Group

MakeOptimizer = Callable[[Sequence[Tensor], float], Any]
Schedule = Callable[[int, int], float]
Augment = Callable[[Tensor], Tensor]

PLAIN, CONSTANT = "sgd", "constant"
"""The words for what the algorithms do by themselves."""

_OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adamax")
_PADDING = 8  # a side's length over the pixels that a crop may move by: 4 of 32


@dataclass(frozen=True)
class DescentPlan:
    """A run's descents.

    Attributes:
        optimizer: as `optimizer_of` reads it.
        schedule: as `schedule_of` reads it.
        augment: as `augmentation_of` reads it; None for none.
        rounds: of the run.

    Raises:
        ConfigError: if there is no such thing.
    """

    optimizer: str = PLAIN
    schedule: str = CONSTANT
    augment: str | None = None
    rounds: int = 1

    @property
    def plain(self) -> bool:
        """Whether it is what the algorithms do by themselves."""
        return (self.optimizer, self.schedule, self.augment) == (PLAIN, CONSTANT, None)

    def at(self, number: int) -> Descent | None:
        """Return the descent of a round, from 0; None for the algorithm's own."""
        if self.plain:
            return None
        return Descent(
            optimizer=optimizer_of(self.optimizer),
            factor=schedule_of(self.schedule)(number, self.rounds),
            augment=None if self.augment is None else augmentation_of(self.augment),
        )


def optimizer_of(text: str) -> MakeOptimizer | None:
    """Return what makes an optimiser; None for plain SGD.

    Raises:
        ConfigError: if there is none of that name, or it does not take what is behind it.
    """
    if text == PLAIN:
        return None
    name, *words = text.split()
    given = _others(OPTIMIZERS, name)
    if given is not None:
        return partial(_made, partial(given, **_arguments(words)) if words else given)
    kinds = {each.lower(): each for each in _OPTIMIZERS}
    if name not in kinds:
        remedy = choose(name, [*kinds, *OPTIMIZERS.names()])
        raise ConfigError("optimizer", f"there is no {name!r}", remedy)
    kind, more = getattr(torch.optim, kinds[name]), _arguments(words)
    try:
        kind([torch.zeros(1, requires_grad=True)], lr=0.1, **more)
    except (TypeError, ValueError) as error:
        problem = f"{text!r} is none ({error})"
        raise ConfigError("optimizer", problem, f"see torch.optim.{kinds[name]}") from error
    return lambda parameters, lr: kind(parameters, lr=lr, **more)


def _made(make: MakeOptimizer, parameters: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """Return the optimiser that a person's function makes.

    Raises:
        ConfigError: if it makes none, or one whose step asks for the loss again.
    """
    made = make(parameters, lr)
    if not isinstance(made, torch.optim.Optimizer):
        problem = f"makes {type(made).__name__}, and no torch.optim.Optimizer"
        raise ConfigError("optimizer", problem, "return one of the parameters")
    if isinstance(made, torch.optim.LBFGS):
        problem = "LBFGS asks for the loss several times in a step, and a client gives it once"
        raise ConfigError("optimizer", problem, "choose another one")
    return made


def schedule_of(text: str) -> Schedule:
    """Return a function from a round and the number of rounds to a factor of the learning rate.

    Raises:
        ConfigError: if there is none of that name.
    """
    name, *words = text.split()
    given = _others(SCHEDULES, name)
    if given is not None:
        return lambda number, rounds: _factor(given, number, rounds)
    if name == "exponential" and len(words) == 1:
        base = _number(words[0])
        if base is not None and 0 < base <= 1:
            return lambda number, rounds: base**number
    if words or name not in _SCHEDULES:
        remedy = choose(name, [*_SCHEDULES, "exponential 0.99", *SCHEDULES.names()])
        raise ConfigError("schedule", f"there is no {text!r}", remedy)
    return _SCHEDULES[name]


_SCHEDULES: Mapping[str, Schedule] = {
    CONSTANT: lambda number, rounds: 1.0,
    "cosine": lambda number, rounds: (1 + math.cos(math.pi * number / rounds)) / 2,
    "linear": lambda number, rounds: 1 - number / rounds,
}


def _factor(schedule: Schedule, number: int, rounds: int) -> float:
    try:
        factor = float(schedule(number, rounds))
    except (TypeError, ValueError) as error:
        problem = f"fails in round {number} of {rounds} ({type(error).__name__}: {error})"
        remedy = "give a function from a round and the number of rounds to a factor"
        raise ConfigError("schedule", problem, remedy) from error
    if not 0 <= factor < math.inf:
        problem = f"gives {factor}, and a factor is finite and not below 0"
        raise ConfigError("schedule", problem, "return such a number")
    return factor


def augmentation_of(text: str) -> Augment:
    """Return a function from inputs (B, ...) to such inputs; it draws from torch's stream.

    Raises:
        ConfigError: if there is none of that name.
    """
    given = _others(AUGMENTATIONS, text)
    if given is not None:
        return partial(_checked, given)
    names = text.split("+")
    if any(name not in _AUGMENTATIONS for name in names):
        remedy = choose(text, [*_AUGMENTATIONS, "flip+crop", *AUGMENTATIONS.names()])
        raise ConfigError("augment", f"there is no {text!r}", remedy)
    return partial(_in_turn, [_AUGMENTATIONS[name] for name in names])


def _checked(augment: Augment, inputs_B: Tensor) -> Tensor:
    made = augment(inputs_B)
    if not isinstance(made, Tensor) or _kind(made) != _kind(inputs_B):
        found = _kind(made) if isinstance(made, Tensor) else type(made).__name__
        problem = f"makes {found} of inputs of {_kind(inputs_B)}"
        raise ConfigError("augment", problem, "return inputs of the same shape and type")
    return made


def _kind(inputs_B: Tensor) -> str:
    return f"shape {tuple(inputs_B.shape)}, {inputs_B.dtype}"


def _in_turn(steps: Iterable[Augment], inputs_B: Tensor) -> Tensor:
    for step in steps:
        inputs_B = step(inputs_B)
    return inputs_B


def flip(images_B: Tensor) -> Tensor:
    """Return images (B, C, H, W), each mirrored with probability one half."""
    turned_B = torch.rand(len(images_B)).to(images_B.device) < 0.5
    return torch.where(turned_B.view(-1, 1, 1, 1), images_B.flip(-1), images_B)


def crop(images_B: Tensor) -> Tensor:
    """Return images (B, C, H, W), each moved by up to an eighth of a side; what is new is zero."""
    height, width = images_B.shape[-2:]
    high, wide = height // _PADDING, width // _PADDING
    padded_B = F.pad(images_B, (wide, wide, high, high))
    tops = torch.randint(2 * high + 1, (len(images_B),)).tolist()
    lefts = torch.randint(2 * wide + 1, (len(images_B),)).tolist()
    moved = [
        image[:, top : top + height, left : left + width]
        for image, top, left in zip(padded_B, tops, lefts, strict=True)
    ]
    return torch.stack(moved)


_AUGMENTATIONS: Mapping[str, Augment] = {"flip": flip, "crop": crop}


def _others(group: Group, name: str) -> Any:
    point = group.find(name, ())
    if point is None:
        return None
    with group.asked(point):
        found = point.load()
        if not callable(found):
            raise TypeError("it is no function")
    return found


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """Read "key=value" words; a value is one of TOML.

    Raises:
        ConfigError: naming the word that is none.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except ValueError as error:
            problem = f"{word!r} is no key=value"
            raise ConfigError("optimizer", problem, "write sgd momentum=0.9") from error
        if not equals:
            raise ConfigError("optimizer", f"{word!r} is no key=value", "write momentum=0.9")
    return found


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
