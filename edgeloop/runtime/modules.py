"""Reads what a module says of itself, without importing it or anything that it needs."""

import ast
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import Any


def find(module: str) -> ModuleSpec | None:
    """Return where a module is; None where it is not there. Imports nothing, no package either.

    Args:
        module: its full name.
    """
    path: Iterable[str] | None = None
    spec: ModuleSpec | None = None
    for end in range(1, len(module.split(".")) + 1):
        name = ".".join(module.split(".")[:end])
        spec = _found(name, path)
        if spec is None:
            return None
        path = getattr(sys.modules.get(name), "__path__", spec.submodule_search_locations) or []
    return spec


def parsed(module: str) -> ast.Module | None:
    """Return a module's source as a tree; None where it is not there, or is no Python source.

    Args:
        module: its full name.
    """
    spec = find(module)
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module)
    return None if source is None else _parsed(source)


@lru_cache(maxsize=256)
def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):  # ValueError: a null byte
        return None


def docstring(module: str) -> str | None:
    """Return a module's docstring; None where there is none to be read.

    Args:
        module: its full name.
    """
    tree = parsed(module)
    return None if tree is None else ast.get_docstring(tree)


def _found(name: str, path: Iterable[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            found: ModuleSpec | None = finder.find_spec(name, path)  # type: ignore[arg-type]
        except ModuleNotFoundError:  # what hides a module says so
            return None
        if found is not None:
            return found
    return None


def constant(module: str, name: str) -> Any:
    """Return what a module binds a name to, running only the statements that this one needs.

    So that a declaration can be read where what the rest of its file imports is not installed, or
    takes seconds. A module that is imported already is asked itself.

    Args:
        module: its full name.
        name: bound once, at the module's top level.

    Raises:
        AttributeError: if the module is not there, or does not bind the name so.
        Exception: whatever the statements raise, as importing the module would.
    """
    if module in sys.modules:
        return getattr(sys.modules[module], name)
    tree = parsed(module)
    bound = {} if tree is None else {each: node for node in tree.body for each in _bound(node)}
    if tree is None or name not in bound:
        raise AttributeError(f"module {module!r} has no {name!r} to be read")
    needed = _needed(bound, name)
    body = [node for node in tree.body if node in needed]
    package = module.rpartition(".")[0]
    space = {"__name__": module, "__package__": package}
    # The module's own statements, which importing it would run too.
    exec(compile(ast.Module(body, []), module, "exec"), space)  # noqa: S102
    return space[name]


def binding(package: str, name: str) -> list[str]:
    """Return the modules of a package that bind a name at their top level; imports nothing.

    Args:
        package: its full name.
        name: that is looked for.
    """
    spec = find(package)
    path = [] if spec is None else spec.submodule_search_locations or []
    path = getattr(sys.modules.get(package), "__path__", path)
    found = [f"{package}.{each.name}" for each in pkgutil.iter_modules(path)]
    trees = {each: parsed(each) for each in found}
    return [
        module
        for module, tree in trees.items()
        if tree is not None and any(name in _bound(node) for node in tree.body)
    ]


def constants(package: str, name: str) -> dict[str, Any]:
    """Import the modules of a package; return what they bind a name to, by their own names.

    Args:
        package: its full name; it is imported already.
        name: that is looked for; a module that lacks it is left out.
    """
    paths = pkgutil.iter_modules(sys.modules[package].__path__)
    found = {each.name: import_module(f"{package}.{each.name}") for each in paths}
    return {each: getattr(module, name) for each, module in found.items() if hasattr(module, name)}


def around(found: Any, name: str) -> Any:
    """Return the module of a function of this name, which stands for it; else what was given."""
    stands_for_it = inspect.isfunction(found) and found.__name__ == name
    return sys.modules[found.__module__] if stands_for_it else found


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a statement at a module's top level binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [each.asname or each.name.partition(".")[0] for each in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _needed(bound: Mapping[str, ast.stmt], name: str) -> set[ast.stmt]:
    """Return the statement that binds a name, and those that it needs, and so on."""
    found: set[ast.stmt] = set()
    wanted = [name]
    while wanted:
        node = bound.get(wanted.pop())
        if node is not None and node not in found:
            found.add(node)
            names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
            wanted += [each.id for each in names if isinstance(each.ctx, ast.Load)]
    return found
