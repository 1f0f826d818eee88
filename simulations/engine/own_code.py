"""A digest of what a person brings: another network under the same name is another run.

A definition is its bytecode, the values that it closes over, and what it uses of its own module.
Line numbers and comments are left out: the same cell, run again, is the same. What libraries bring
is told by its name: their versions stand beside the digest.
"""

import functools
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_OF_PYTHON = (bool, int, float, complex, str, bytes, type(None), range, PurePath)
_PLAIN = (*_OF_PYTHON, np.generic, torch.dtype, torch.device)
_CLOSED = (CodeType, tuple, frozenset)
"""What cannot hold itself: told each time, since equal ones may be one object, or several."""
_VALUES = (*_PLAIN, dict, list, tuple, set, frozenset, np.ndarray, Tensor)
"""What a function or an object has as data."""

_LIBRARIES = {"torch", "numpy", "edgeloop", "simulations", *sys.builtin_module_names}
_STANDARD = sysconfig.get_path("stdlib")
_INSTALLED = ("/site-packages/", "/dist-packages/")
_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module of torch's has: its parameters, its parts, its hooks."""

_KEPT = 12


class Digest(NamedTuple):
    """What tells a thing from others of its name.

    Attributes:
        code: a digest of what it is.
        weights: a digest of the numbers of its networks; None if it has none. They may be drawn
            anew in each run.
    """

    code: str
    weights: str | None


def digest(made: Any) -> Digest:
    """Return a digest of a class, a function, a module of torch's, or a module of Python's."""
    told = _Parts(made)
    code = _hashed(told.of(made))
    return Digest(code, _hashed(_Parts(made).of(told.weights)) if told.weights else None)


def _hashed(parts: Iterable[str]) -> str:
    told = hashlib.sha256()
    for part in parts:
        told.update(part.encode("utf-8", "backslashreplace") + b"\0")
    return told.hexdigest()[:_KEPT]


class _Part(NamedTuple):
    """An object that is to be told."""

    made: Any


Told = Iterator[str | _Part]


class _Parts:
    """Tells what a definition is made of, each part once.

    Attributes:
        weights: the numbers of the networks that were told.
    """

    def __init__(self, brought: Any) -> None:
        self.weights: list[Any] = []
        self._own = _module_of(brought).partition(".")[0]
        self._seen: dict[int, Any] = {}  # held, so that no other object gets the same address

    def of(self, made: Any) -> Iterator[str]:
        """Yield what an object is made of; of what cannot be read, its kind and shape."""
        waiting: list[tuple[Any, Told]] = [(made, iter((_Part(made),)))]  # however deep it lies
        while waiting:
            holder, parts = waiting[-1]
            try:
                part = next(parts, None)
            except Exception:  # whatever a person's objects raise
                part = _kind(holder)
            if part is None:
                waiting.pop()
            elif isinstance(part, str):
                yield part
            else:
                waiting.append((part.made, self._told(part.made)))

    def _told(self, made: Any) -> Told:
        if isinstance(made, _PLAIN):
            yield repr(made)
            return
        if not isinstance(made, _CLOSED):
            if id(made) in self._seen:
                return
            self._seen[id(made)] = made
        yield type(made).__qualname__
        yield from self._how(made)(made)

    def _how(self, made: Any) -> Callable[[Any], Told]:
        """Return what tells the parts of an object of this kind."""
        kinds: tuple[tuple[Any, Callable[[Any], Told]], ...] = (
            (CodeType, _code),
            (np.ndarray, _array),
            (Tensor, _tensor),
            (nn.Module, self._network),
            (functools.partial, lambda it: _all(it.func, it.args, it.keywords)),
            (Mapping, lambda it: _all(*it, *it.values())),
            ((list, tuple), lambda it: _all(*it)),
            ((set, frozenset), lambda it: iter(sorted(map(_word, it)))),
            ((staticmethod, classmethod), lambda it: _all(it.__func__)),
            (property, lambda it: _all(it.fget, it.fset)),
            (type, self._class),
            (ModuleType, _module),
        )
        for kind, told in kinds:
            if isinstance(made, kind):
                return told
        return self._function if inspect.isroutine(made) else _instance

    def _is_library(self, module: str) -> bool:
        """Return whether a module is installed, and is not what was brought."""
        top = module.partition(".")[0]
        if top in _LIBRARIES or module == "__main__":
            return top in _LIBRARIES
        file = getattr(sys.modules.get(module), "__file__", None) or ""
        if any(each in file for each in _INSTALLED):
            return top != self._own
        return file.startswith(_STANDARD)

    def _function(self, function: Any) -> Told:
        inner = inspect.unwrap(getattr(function, "__func__", function))
        code = getattr(inner, "__code__", None)
        if code is None or self._is_library(_module_of(inner)):
            yield f"{getattr(function, '__module__', None)}.{function.__qualname__}"
            return
        yield from _code(code)
        yield from _all(inner.__defaults__, inner.__kwdefaults__)
        for cell in inner.__closure__ or ():
            try:
                yield _Part(cell.cell_contents)
            except ValueError:  # it is not filled yet
                continue
        yield from _all(*_used(inner, code))

    def _class(self, made: type) -> Told:
        if self._is_library(made.__module__):
            yield f"{made.__module__}.{made.__qualname__}"
            return
        yield made.__qualname__
        yield from _all(*made.__bases__)
        yield from _bound(vars(made))

    def _network(self, network: nn.Module) -> Told:
        for path, module in network.named_modules():
            yield f"{path} {module.extra_repr()}"
            yield _Part(type(module))
            facts = {k: v for k, v in vars(module).items() if k not in _OF_TORCH}
            yield from _bound({k: v for k, v in facts.items() if _is_told(v)})
            self.weights += (each for each in facts.items() if _are_numbers(each[1]))
        held = {**network.state_dict(), **dict(network.named_buffers())}
        for path, made in sorted(held.items()):
            yield f"{path} {_kind(made)}"
            self.weights += (path, made)


def _all(*parts: Any) -> Told:
    return map(_Part, parts)


def _code(code: CodeType) -> Told:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    yield from _all(*code.co_consts)


def _module(module: ModuleType) -> Told:
    mine = vars(module).items()
    return _bound({k: v for k, v in mine if _is_of(v, module.__name__)})


def _bound(names: Mapping[str, Any]) -> Told:
    for name in sorted(names):
        if name in ("__init__", "__call__") or not name.startswith("__"):
            yield name
            yield _Part(names[name])


def _instance(made: Any) -> Told:
    yield _Part(type(made))
    facts = getattr(made, "__dict__", {})
    yield from _bound({k: v for k, v in facts.items() if isinstance(v, _VALUES)})


def _is_told(made: Any) -> bool:
    """Return whether what a network has under a name says what it is, and is no weights."""
    says = isinstance(made, (*_VALUES, type, functools.partial)) or inspect.isroutine(made)
    return says and not _are_numbers(made)


def _are_numbers(made: Any) -> bool:
    """Return whether something is a tensor, an array, or holds some."""
    held = made.values() if isinstance(made, dict) else made
    held = held if isinstance(made, dict | list | tuple) else [made]
    return any(isinstance(each, Tensor | np.ndarray) for each in held)


def _used(function: Any, code: CodeType) -> list[Any]:
    """Return what a function uses of its own module: functions, classes and values."""
    known = function.__globals__
    found = [known[name] for name in sorted(_names(code)) if name in known]
    return [
        each for each in found if isinstance(each, _VALUES) or _is_of(each, function.__module__)
    ]


def _names(code: CodeType) -> set[str]:
    """Return the names that a function's code has, and that of the functions within it."""
    found: set[str] = set()
    waiting = [code]
    while waiting:
        each = waiting.pop()
        found.update(each.co_names)
        waiting += (inner for inner in each.co_consts if isinstance(inner, CodeType))
    return found


def _is_of(made: Any, module: str) -> bool:
    """Return whether a function or a class is defined in a module."""
    is_code = inspect.isfunction(made) or inspect.isclass(made)
    return is_code and made.__module__ == module


def _module_of(made: Any) -> str:
    """Return the name of the module that an object, or its class, is defined in."""
    if isinstance(made, ModuleType):
        return made.__name__
    while isinstance(made, functools.partial):
        made = made.func
    return str(getattr(made, "__module__", None) or "")


def _word(made: Any) -> str:
    """Return a member of a set as a text without its address."""
    if isinstance(made, _PLAIN):
        return repr(made)
    if isinstance(made, _CLOSED):
        return digest(made).code
    return f"{type(made).__qualname__} {getattr(made, '__qualname__', '')}"


def _kind(made: Any) -> str:
    """Return the type of an object and, of an array or a tensor, its kind and shape."""
    try:
        return f"{type(made).__qualname__} {made.dtype} {tuple(made.shape)}"
    except Exception:  # as of a parameter that has no shape yet
        return type(made).__qualname__


def _array(made: Any) -> Told:
    """Yield the kind of an array, and its values."""
    yield f"{made.dtype} {made.shape}"
    yield _Part(made.tolist()) if made.dtype.hasobject else _hash_of(made)


def _tensor(made: Tensor) -> Told:
    """Yield the kind of a tensor, and its values, from wherever they are."""
    yield f"{made.dtype} {tuple(made.shape)}"
    values = made.detach().cpu()
    if values.layout == torch.sparse_coo:
        values = values.coalesce()
        yield from _all(values.indices(), values.values())
        return
    flat = values.resolve_conj().resolve_neg().contiguous().reshape(-1)
    yield _hash_of(flat.view(torch.uint8).numpy())


def _hash_of(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
