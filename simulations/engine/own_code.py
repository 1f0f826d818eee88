"""A digest of what a person brings: another network under the same name is another run.

A definition is its bytecode, the values that it closes over, and what it calls of its own module.
Line numbers and comments are left out: the same cell, run again, is the same.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgeloop.models.layered import split_name
from edgeloop.runtime import plugins
from edgeloop.runtime.plugins import Group

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CLOSED = (CodeType, tuple, frozenset)
"""What cannot hold itself: told each time, since equal ones may be one object, or several."""

_KEPT = 12


def definitions(asked: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, str]:
    """Return a digest of each thing that a person brought to a run, by its name; of others none.

    Args:
        asked: the run's settings, JSON values.
        models: each client's architecture.
    """
    found = {}
    for group, name in _named(asked, models):
        made = group.by_hand(name)
        if made is not None:
            found[name] = digest(made)
    return dict(sorted(found.items()))


def _named(asked: Mapping[str, Any], models: Mapping[str, str]) -> Iterator[tuple[Group, str]]:
    yield plugins.ALGORITHMS, str(asked["algorithm"])
    yield from ((plugins.MODELS, split_name(each)[0]) for each in dict.fromkeys(models.values()))
    yield from ((plugins.METRICS, str(each)) for each in asked.get("metrics", ()))
    words = {
        "partition": plugins.PARTITIONS,
        "optimizer": plugins.OPTIMIZERS,
        "schedule": plugins.SCHEDULES,
        "augment": plugins.AUGMENTATIONS,
    }
    for key, group in words.items():
        if asked.get(key):
            yield group, str(asked[key]).split()[0]


def digest(made: Any) -> str:
    """Return a digest of a class, a function, a module of torch's, or a module of Python's."""
    told = hashlib.sha256()
    for part in _Parts().of(made):
        told.update(part.encode("utf-8", "backslashreplace") + b"\0")
    return told.hexdigest()[:_KEPT]


class _Parts:
    """Tells what a definition is made of, each part once."""

    def __init__(self) -> None:
        self._seen: list[Any] = []  # held, so that no other object gets the same address

    def of(self, made: Any) -> Iterator[str]:
        """Yield what an object is made of."""
        if isinstance(made, _PLAIN):
            yield repr(made)
            return
        if not isinstance(made, _CLOSED):
            if any(each is made for each in self._seen):
                return
            self._seen.append(made)
        yield type(made).__qualname__
        yield from self._how(made)(made)

    def _how(self, made: Any) -> Callable[[Any], Iterator[str]]:
        """Return what tells the parts of an object of this kind."""
        kinds: tuple[tuple[Any, Callable[[Any], Iterator[str]]], ...] = (
            (CodeType, self._code),
            ((Tensor, np.ndarray), _numbers),
            (nn.Module, self._network),
            (functools.partial, lambda it: self._all(it.func, it.args, it.keywords)),
            (Mapping, lambda it: self._all(*it, *it.values())),
            ((list, tuple), lambda it: self._all(*it)),
            ((set, frozenset), lambda it: iter(sorted(map(repr, it)))),
            ((staticmethod, classmethod), lambda it: self._all(it.__func__)),
            (property, lambda it: self._all(it.fget, it.fset)),
            (type, self._class),
            (ModuleType, self._module),
        )
        for kind, told in kinds:
            if isinstance(made, kind):
                return told
        return self._function if inspect.isroutine(made) else self._instance

    def _all(self, *parts: Any) -> Iterator[str]:
        for part in parts:
            yield from self.of(part)

    def _code(self, code: CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield repr((code.co_names, code.co_varnames, code.co_freevars))
        yield from self._all(*code.co_consts)

    def _function(self, function: Any) -> Iterator[str]:
        inner = inspect.unwrap(getattr(function, "__func__", function))
        code = getattr(inner, "__code__", None)
        if code is None:
            yield f"{getattr(function, '__module__', None)}.{function.__qualname__}"
            return
        yield from self._code(code)
        yield from self._all(inner.__defaults__, inner.__kwdefaults__)
        for cell in inner.__closure__ or ():
            try:
                yield from self.of(cell.cell_contents)
            except ValueError:  # it is not filled yet
                continue
        yield from self._all(*_called(inner, code))

    def _class(self, made: type) -> Iterator[str]:
        yield made.__qualname__
        for base in made.__bases__:
            if base.__module__ == made.__module__:
                yield from self.of(base)
            else:
                yield f"{base.__module__}.{base.__qualname__}"
        yield from self._bound(vars(made))

    def _module(self, module: ModuleType) -> Iterator[str]:
        mine = vars(module).items()
        yield from self._bound({k: v for k, v in mine if _is_of(v, module.__name__)})

    def _bound(self, names: Mapping[str, Any]) -> Iterator[str]:
        for name in sorted(names):
            if name in ("__init__", "__call__") or not name.startswith("__"):
                yield name
                yield from self.of(names[name])

    def _network(self, network: nn.Module) -> Iterator[str]:
        for path, module in network.named_modules():
            yield f"{path} {module.extra_repr()}"
            yield from self.of(type(module))
        for path, tensor in network.state_dict().items():
            yield path
            yield from self.of(tensor)

    def _instance(self, made: Any) -> Iterator[str]:
        yield from self.of(type(made))
        facts = getattr(made, "__dict__", {})
        yield from self._bound({k: v for k, v in facts.items() if isinstance(v, _PLAIN)})


def _called(function: Any, code: CodeType) -> list[Any]:
    """Return what a function uses of its own module: functions, classes and plain values."""
    known = function.__globals__
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    names = {*code.co_names, *(name for each in inner for name in each.co_names)}
    found = [known[name] for name in sorted(names) if name in known]
    return [each for each in found if isinstance(each, _PLAIN) or _is_of(each, function.__module__)]


def _is_of(made: Any, module: str) -> bool:
    """Return whether a function or a class is defined in a module."""
    is_code = inspect.isfunction(made) or inspect.isclass(made)
    return is_code and made.__module__ == module


def _numbers(made: Any) -> Iterator[str]:
    """Yield the kind of an array or a tensor, and its values."""
    yield f"{made.dtype} {tuple(made.shape)}"
    if isinstance(made, Tensor):
        made = made.detach().cpu().float().numpy() if made.is_floating_point() else made.numpy()
    yield hashlib.sha256(made.tobytes()).hexdigest()
