"""A settings model's fields as a command's options: name, type, default and help from the model."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from edgeloop.runtime import config
from edgeloop.runtime.config import Option

S = TypeVar("S", bound=config.Settings)

_PLAIN = (bool, int, float)
"""Types that the command-line library reads itself; the model reads all others, as texts."""


def of(  # noqa: PLR0913 - keywords but two: how a command differs from its model
    model: type[S],
    name: str,
    *,
    only: Collection[str] = (),
    omit: Collection[str] = (),
    changes: Mapping[str, Option] | None = None,
    prefix: str = "",
    ranges: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a command of a function of checked settings.

    The command has an option for each field, and the function's own further parameters. A wrong
    value is an `InputError` that names the option.

    Args:
        model: that declares the settings.
        name: of the command, as its user writes it.
        only: fields that the command has; all if empty.
        omit: fields that it has not; they keep their defaults.
        changes: what is otherwise in this command, by field.
        prefix: of the environment variables that are read too, where an empty text is none: a
            template passes them all. Without a prefix none is read.
        ranges: whether `--help` shows the least and the largest number.
    """
    options = {
        key: _option(field, (changes or {}).get(key))
        for key, field in model.model_fields.items()
        if key not in omit and (not only or key in only)
    }

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            table = {key: _value(each, given.pop(key)) for key, each in options.items()}
            empty = {key for key, each in options.items() if prefix or each.environment}
            known = {
                key: value
                for key, value in table.items()
                if value is not None and not (value == "" and key in empty)
            }
            function(config.parse(known, model, name), **given)

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        made = [
            _parameter(key, model.model_fields[key], each, prefix, ranges)
            for key, each in options.items()
        ]
        made.sort(key=lambda each: each.default is not each.empty)  # what must be given first
        parameters = [*made, *(each.replace(kind=each.KEYWORD_ONLY) for each in own)]
        command.__dict__["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _option(field: FieldInfo, change: Option | None) -> Option:
    """Return how a field stands on a command line; a command's own word is the last one."""
    found = next((each for each in field.metadata if isinstance(each, Option)), Option())
    if change is None:
        return found
    said = {
        each.name: getattr(change, each.name)
        for each in dataclasses.fields(Option)
        if getattr(change, each.name) != each.default
    }
    return dataclasses.replace(found, **said)


def _value(option: Option, given: Any) -> Any:
    """Return a value as the model takes it; None for its default."""
    if given is None or option.parse is None:
        return given
    return option.parse(given)


def _parameter(
    key: str, field: FieldInfo, option: Option, prefix: str, ranges: bool
) -> inspect.Parameter:
    kind = list[str] if option.several else _kind(field)
    if option.required or (field.is_required() and option.default is None):
        default: Any = inspect.Parameter.empty
    else:
        default = _default(field, option)
    shown: Any = kind if default is inspect.Parameter.empty or default is not None else kind | None
    info = _typer_info(key, field, option, prefix, kind)
    if ranges and kind in (int, float):
        info.min, info.max = _bound(field, "ge"), _bound(field, "le")
    annotation = Annotated[shown, info]
    return inspect.Parameter(
        key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _typer_info(key: str, field: FieldInfo, option: Option, prefix: str, kind: Any) -> Any:
    text = " ".join((option.help or field.description or "").split())
    if option.positional:
        return typer.Argument(help=text, metavar=option.name or None)
    word = option.name or f"--{key.replace('_', '-')}"
    if kind is bool and "/" not in word and field.default is True:
        word = f"{word}/--no-{word.removeprefix('--')}"
    named = prefix + word.partition("/")[0].removeprefix("--").upper().replace("-", "_")
    variable = option.environment or (named if prefix else None)
    shown = _metavar(field) if kind is str else None
    return typer.Option(word, help=text, envvar=variable, metavar=shown)


def _metavar(field: FieldInfo) -> str | None:
    """Return how `--help` shows what a text may be: a path, or one of some words."""
    found = config.parts(field.annotation)
    words = [word for each in found if get_origin(each) is Literal for word in get_args(each)]
    if words and int not in found:
        return f"<{'|'.join(words)}>"
    return "<path>" if Path in found else None


def _bound(field: FieldInfo, name: str) -> Any:
    """Return a field's least number ("ge") or its largest ("le"); None where it has none."""
    inner = [each for each in config.parts(field.annotation) if isinstance(each, FieldInfo)]
    rules = [*field.metadata, *(rule for each in inner for rule in each.metadata)]
    return next((getattr(each, name) for each in rules if hasattr(each, name)), None)


def _default(field: FieldInfo, option: Option) -> Any:
    """Return what an option has if it is not given; None where the model says it."""
    if option.default is not None:
        return option.default
    if option.several or option.unsaid or field.default_factory is not None:
        return None
    return field.default


def _kind(field: FieldInfo) -> Any:
    """Return the type that a word on a command line is read as; a text where it may be several."""
    found = [each for each in config.parts(field.annotation) if isinstance(each, type)]
    kinds = [each for each in _PLAIN if each in found]
    words = config.has_words(field.annotation) or str in found
    return kinds[0] if len(kinds) == 1 and not words else str
