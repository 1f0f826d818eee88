"""Says in words of our own what pydantic finds wrong with a value, and what to do about it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeloop.errors import choose

Finding = Mapping[str, Any]
"""One of the `errors()` of a pydantic ValidationError."""

FORMS = {
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": (
        "a name: up to 64 letters, digits, dots, hyphens and underscores, the first one a letter"
        " or a digit"
    ),
    "^[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,63}$": (
        "a pattern: a name, in which * stands for any characters and ? for one"
    ),
    "^[0-9a-f]{64}$": "a SHA-256: 64 of the digits 0 to 9 and a to f",
    "^(100|[1-9][0-9]?)%$": "a share of 1% to 100%",
    "^https?://[^/]": "an address that begins with http:// or https://",
    r"^https://[A-Za-z0-9._:\[\]-]+/?$": "https://host:port",
    r"^https?://[A-Za-z0-9._:\[\]-]+/?$": "http://host:port or https://host:port",
    r"^https?://[A-Za-z0-9._:{}\[\]-]+/?$": "http://host:port or https://host:port",
    (
        "^(?:(?:mon|tue|wed|thu|fri|sat|sun)"
        "(?:-(?:mon|tue|wed|thu|fri|sat|sun)|(?:,(?:mon|tue|wed|thu|fri|sat|sun))*) )?"
        "(?:(?:[01][0-9]|2[0-3]):(?:[0-5][0-9])|24:00)-(?:(?:[01][0-9]|2[0-3]):(?:[0-5][0-9])|24:00)$"
    ): "hours like 22:00-06:00, with days before them if they matter: mon-fri or sat,sun",
    "^[A-Za-z0-9._:-]{1,253}$": "a host's name or address",
    "^/[!-~]*$": "a path that begins with /, without spaces",
    "^[!-~]+$": "letters, digits and signs of ASCII, without spaces",
    "^[!-~]*$": "letters, digits and signs of ASCII, without spaces",
    r"^(none|http://([!-9;-?A-~]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?)$": (
        "http://host:port, http://user@host:port, or none; a password belongs in a file"
    ),
    r"^([^+#\x00$/][^+#\x00]*/)?$": (
        "levels of a topic that end with /, without + and #, neither $ nor / first"
    ),
    "^[ -~]+$": "letters, digits, signs and spaces of ASCII",
    "^[ -~]*$": "letters, digits, signs and spaces of ASCII",
    "^[a-z0-9-]*$": "a namespace: small letters, digits and hyphens",
    "^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$": (
        "letters, digits, dots, slashes, hyphens and underscores, a letter or digit at both ends"
    ),
    "^(Always|IfNotPresent|Never)$": "Always, IfNotPresent or Never",
}
"""What a text must be like, by the regular expression that a setting has for it."""

_LONGEST = 60
_KINDS = {  # what a value should be, by the first word of pydantic's type
    "int": ("no whole number", "give a whole number"),
    "float": ("no number", "give a number"),
    "finite": ("no finite number", "give a finite number"),
    "bool": ("neither true nor false", "give true or false"),
    "string": ("no text", "give a text, in quotes"),
    "path": ("no path", "give a path, in quotes"),
    "list": ("no list", "give a list"),
    "tuple": ("no list", "give a list"),
    "set": ("no list", "give a list"),
    "dict": ("no table", "give a table of keys and values"),
    "model": ("no table", "give a table of keys and values"),
    "dataclass": ("no table", "give a table of keys and values"),
    "none": ("not empty", "leave it out"),
    "bytes": ("no bytes", "give bytes"),
}
_TAGS = re.compile(r"(bool|int|float|str|tuple|list|dict|literal|enum|function|constrained)\b.*")
"""How pydantic names the alternatives of a union, at the end of a place."""


def first_finding(findings: Sequence[Finding]) -> tuple[tuple[str | int, ...], str, str]:
    """Return where the first finding is, what is wrong there, and the remedy.

    What a value may be instead is said once, whichever of the alternatives it was tried as.
    """
    first = findings[0]
    place: tuple[str | int, ...] = tuple(each for each in first["loc"] if each != "[key]")
    alike = [each for each in findings if _is_alternative(each["loc"], place)]
    if len(alike) < 2:
        return (place, *explain(first))
    value = first["input"]
    known = [word for each in alike if each["type"] == "literal_error" for word in _known(each)]
    others = [explain(each)[1] for each in alike if each["type"] != "literal_error"]
    if not others:
        return place[:-1], f"there is no {shown(value)}", choose(value, known)
    remedies = dict.fromkeys([*others, *([choose(value, known)] if known else [])])
    return place[:-1], f"{shown(value)} cannot be used", ", or ".join(remedies)


def first_problem(findings: Sequence[Finding]) -> str:
    """Return the first finding as a clause, its place first, for files that no person writes."""
    place, problem, _ = first_finding(findings)
    return ": ".join(filter(None, [".".join(map(str, place)), problem]))


def _is_alternative(place: Sequence[Any], first: Sequence[Any]) -> bool:
    tagged = bool(place) and isinstance(place[-1], str) and _TAGS.fullmatch(place[-1])
    return bool(tagged) and place[:-1] == first[:-1]


def explain(finding: Finding) -> tuple[str, str]:
    """Return what is wrong with a value, a clause, and the remedy, an imperative one."""
    kind, value = finding["type"], finding.get("input")
    if kind in _SENTENCES:
        return _SENTENCES[kind](value, finding.get("ctx") or {})
    if kind in ("value_error", "assertion_error"):
        sentence = (
            str(finding["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
        )
        scalar = isinstance(value, str | int | float)
        return sentence, f"give another than {shown(value)}" if scalar else "fix it there"
    wrong, remedy = _KINDS.get(kind.partition("_")[0], ("not allowed here", "give another value"))
    return f"{shown(value)} is {wrong}", remedy


def shown(value: object) -> str:
    """Return a value as a person writes it, cut where it is long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _too(what: str, bound: str, remedy: str) -> Callable[[Any, Mapping[str, Any]], tuple[str, str]]:
    def sentence(value: object, given: Mapping[str, Any]) -> tuple[str, str]:
        number = value if isinstance(value, str) else shown(value)  # as it was on a command line
        return f"{number} is too {what}", remedy.format(_number(given[bound]))

    return sentence


def _number(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _known(finding: Finding) -> list[str]:
    """Return the words that a text may be; none where numbers are asked for."""
    return re.findall(r"'([^']*)'", finding["ctx"]["expected"])


def _literal(value: object, given: Mapping[str, Any]) -> tuple[str, str]:
    known = _known({"ctx": given})
    if not known:  # numbers
        return f"{shown(value)} is not allowed here", f"give {given['expected']}"
    return f"there is no {shown(value)}", choose(value, known)


def _too_short(value: object, given: Mapping[str, Any]) -> tuple[str, str]:
    least, got = given["min_length"], given.get("actual_length", 0)
    return ("is empty" if not got else f"has only {got} entries"), f"give at least {least}"


def _pattern(value: object, given: Mapping[str, Any]) -> tuple[str, str]:
    form = FORMS.get(given["pattern"], "another text")
    return f"{shown(value)} is not allowed here", f"give {form}"


_SENTENCES: Mapping[str, Callable[[Any, Mapping[str, Any]], tuple[str, str]]] = {
    "greater_than_equal": _too("small", "ge", "give {} or more"),
    "greater_than": _too("small", "gt", "give more than {}"),
    "less_than_equal": _too("large", "le", "give at most {}"),
    "less_than": _too("large", "lt", "give less than {}"),
    "json_invalid": lambda value, given: ("is no JSON", "write it again"),
    "missing": lambda value, given: ("is missing", "add it"),
    "extra_forbidden": lambda value, given: ("there is no such key", "take it out"),
    "literal_error": _literal,
    "enum": _literal,
    "string_pattern_mismatch": _pattern,
    "string_too_short": lambda value, given: (
        "is empty" if not value else f"{shown(value)} is too short",
        f"give at least {given['min_length']} characters",
    ),
    "string_too_long": lambda value, given: (
        f"{shown(value)} is too long",
        f"give at most {given['max_length']} characters",
    ),
    "too_short": _too_short,
    "too_long": lambda value, given: (
        f"has {given['actual_length']} entries",
        f"give at most {given['max_length']}",
    ),
}
