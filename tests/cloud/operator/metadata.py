"""What Kubernetes refuses in an object's metadata, and in which words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

ANNOTATION_BYTES = 256 * 1024
"""Of all keys and values together, at most."""

LABELS = frozenset({"namespaces", "services"})
"""Kinds whose names are one label; the others' are subdomains."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

Wrong = Iterator[tuple[str, str, str]]
"""Fields, each with what it holds and what is wrong with it."""


def problems(plural: str, meta: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an object's metadata, as Kubernetes says it."""
    found = [
        *_names(plural, meta),
        *_labels(meta.get("labels")),
        *_annotations(meta.get("annotations")),
        *_finalizers(meta.get("finalizers")),
        *_owners(meta.get("ownerReferences")),
    ]
    return [
        f"{field}: {_kind(problem)}: {_shown(value)}{problem}" for field, value, problem in found
    ]


def _kind(problem: str) -> str:
    return "Too long" if problem.startswith("may not be more than") else "Invalid value"


def _shown(value: str) -> str:
    return f'"{value}": ' if value else ""


def _names(plural: str, meta: Mapping[str, Any]) -> Wrong:
    for field in ("name", "generateName"):
        value = meta.get(field)
        if value is None or (field == "generateName" and not value):
            continue
        # Of a prefix the end may be a dash: something follows.
        whole = str(value).removesuffix("-") + "x" if field == "generateName" else str(value)
        for problem in _name(plural, whole):
            yield f"metadata.{field}", str(value), problem
    if (namespace := meta.get("namespace")) and plural != "namespaces":
        for problem in _label(str(namespace)):
            yield "metadata.namespace", str(namespace), problem


def _name(plural: str, name: str) -> Iterator[str]:
    if plural == "services":
        yield from _dns(name, _SERVICE, 63, "a DNS-1035 label")
    elif plural in LABELS:
        yield from _label(name)
    else:
        yield from _subdomain(name)


def _label(name: str) -> Iterator[str]:
    yield from _dns(name, _LABEL, 63, "a lowercase RFC 1123 label")


def _subdomain(name: str) -> Iterator[str]:
    yield from _dns(name, _SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain")


def _dns(name: str, pattern: re.Pattern[str], longest: int, what: str) -> Iterator[str]:
    if len(name) > longest:
        yield f"must be no more than {longest} characters"
    if not pattern.fullmatch(name):
        yield f"{what} must consist of lower case alphanumeric characters (regex {pattern.pattern})"


def qualified(key: str) -> Iterator[str]:
    """Yield what is wrong with a key: an optional prefix, which is a subdomain, and a name."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield "a qualified name must be a name with an optional DNS subdomain prefix and '/'"
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {problem}" for problem in _subdomain(prefix))
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 characters"
    if not _QUALIFIED.fullmatch(name):
        yield (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start"
            " and end with an alphanumeric character"
        )


def _labels(labels: Mapping[str, Any] | None) -> Wrong:
    for key, value in (labels or {}).items():
        for problem in qualified(key):
            yield "metadata.labels", key, problem
        if not isinstance(value, str):
            yield "metadata.labels", key, "must be a string"
        elif len(value) > 63:
            yield "metadata.labels", value, "must be no more than 63 characters"
        elif value and not _QUALIFIED.fullmatch(value):
            yield (
                "metadata.labels",
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-',"
                " '_' or '.', and must start and end with an alphanumeric character",
            )


def _annotations(annotations: Mapping[str, Any] | None) -> Wrong:
    size = 0
    for key, value in (annotations or {}).items():
        for problem in qualified(key.lower()):  # Kubernetes forgives upper case in prefixes here
            yield "metadata.annotations", key, problem
        if not isinstance(value, str):
            yield "metadata.annotations", key, "must be a string"
        size += len(key.encode()) + len(str(value).encode())
    if size > ANNOTATION_BYTES:
        yield "metadata.annotations", "", f"may not be more than {ANNOTATION_BYTES} bytes"


def _finalizers(finalizers: list[str] | None) -> Wrong:
    for each in finalizers or []:
        for problem in qualified(each):
            yield "metadata.finalizers", each, problem
        if "/" not in each and each not in ("orphan", "foregroundDeletion", "kubernetes"):
            problem = "name is neither a standard finalizer name nor is it fully qualified"
            yield "metadata.finalizers", each, problem


def _owners(owners: list[Mapping[str, Any]] | None) -> Wrong:
    for number, owner in enumerate(owners or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f"metadata.ownerReferences[{number}].{field}", "", "must not be empty"
    if len([each for each in owners or [] if each.get("controller")]) > 1:
        yield "metadata.ownerReferences", "", "Only one reference can have Controller set to true"
