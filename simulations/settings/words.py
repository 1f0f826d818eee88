"""Settings that a command line has as words: key=value, or a number or auto."""

import re
import tomllib
from collections.abc import Sequence
from typing import Literal

from edgeloop.errors import ConfigError
from edgeloop.protocol.task import Scalar

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OWN_OPTIONS = {
    **{"classes": "--data", "width": "--width", "seed": "--seed", "shape": "--data"},
    **{"generator_sha256": "--generator", "latent_dim": "--generator"},
    **{"base_sha256": "--base", "dims": "--base"},
}


def parse_options(words: Sequence[str]) -> dict[str, Scalar]:
    """Read "key=value" words; a value is a TOML scalar, or a bare word for a string.

    Raises:
        ConfigError: naming the word that is none, or a key that has an option of its own.
    """
    options: dict[str, Scalar] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not key or not equals:
            raise ConfigError("set", f"{word!r} is no key=value", "write --set pull=1.0")
        if key in _OWN_OPTIONS:
            raise ConfigError("set", f"{key} has an option of its own", f"use {_OWN_OPTIONS[key]}")
        options[key] = _scalar(key, value)
    return options


def parse_privacy(words: Sequence[str]) -> dict[str, Scalar] | None:
    """Read "key=value" words of `PrivacySettings`; none of them is no privacy.

    Raises:
        ConfigError: naming the word that is none.
    """
    found: dict[str, Scalar] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not key or not equals:
            problem = f"{word!r} is no key=value"
            raise ConfigError("privacy", problem, "write --privacy noise=1.0")
        found[key] = _scalar(key, value)
    return found or None


def parse_workers(word: str) -> int | Literal["auto"]:
    """Read a number of workers.

    Raises:
        ConfigError: if it is neither a number above 0 nor "auto".
    """
    if word == "auto":
        return "auto"
    if not word.isdecimal() or int(word) < 1:
        raise ConfigError("workers", f"{word!r} is no number above 0", "give one, or auto")
    return int(word)


def _scalar(key: str, text: str) -> Scalar:
    if _WORD.fullmatch(text) and text not in ("true", "false", "inf", "nan"):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (RecursionError, ValueError) as error:
        raise ConfigError(
            f"set {key}", f"{text[:80]!r} is no TOML value", 'write 1.0, true or "word"'
        ) from error
    if not isinstance(value, bool | int | float | str):
        raise ConfigError(f"set {key}", f"{text} is no single value", 'write 1.0, true or "word"')
    return value
