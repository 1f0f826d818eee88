"""Pages on what goes between machines: metrics, topics and messages, HTTP."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from cloud.aggregator import http as aggregator_http
from cloud.aggregator.metrics import Metrics
from cloud.authority import http as authority_http
from cloud.console import api as console_api
from cloud.operator.monitor import Monitor
from edgeloop.answers import Report
from edgeloop.protocol import presence, rollout, task, wire
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.wire.fields import Field, schema
from tools.docs.configuration import about, default_of, kind_of, meaning_of, words_of
from tools.docs.markdown import code, page, plain, table

TOPICS = (
    ("aggregator", task.contract_topic, ("TASK",), "The [contract](#contract)."),
    ("aggregator", task.round_topic, ("TASK",), "The [opening](#opening) of the open round."),
    ("aggregator", task.broadcast_topic, ("TASK", "SLOT"), "Frames of a broadcast, in chunks."),
    ("device", task.upload_topic, ("TASK", "DEVICE"), "Frames of its answers, in chunks."),
    ("aggregator", task.receipt_topic, ("TASK", "DEVICE"), "[Receipts](#receipt) of answers."),
    ("everyone", task.presence_topic, ("TASK", "NAME"), "`online` or `offline`, retained."),
    ("server", rollout.desired_topic, ("TASK", "DEVICE", "KIND"), "[Orders](#order), retained."),
    ("server", rollout.shipped_topic, ("TASK", "SHA256"), "A file that orders name, in chunks."),
    (
        "device",
        rollout.applied_topic,
        ("TASK", "DEVICE", "KIND"),
        "[Outcomes](#outcome), retained.",
    ),
)
"""Who sends what on which topic; the function says the topic."""

JSON = (
    task.Contract,
    task.Opening,
    Receipt,
    presence.Presence,
    rollout.Order,
    rollout.Outcome,
)
FRAMES = (wire.Envelope, Report)


def pages() -> dict[str, str]:
    """Return the pages by their paths."""
    return {
        "reference/metrics.md": _metrics(),
        "reference/messages.md": _messages(),
        "reference/http.md": _http(),
    }


def _metrics() -> str:
    operator = Monitor().registry
    aggregator: CollectorRegistry = Metrics()._series.registry
    text = (
        "Every metric of the code. What each says of a task, and the values of its labels:"
        " [Metrics](../metrics.md). Alerts and dashboards: [Monitoring](../monitoring.md)."
    )
    return page(
        "All metrics",
        text,
        "## Of an aggregator\n\n" + _metric_table(aggregator),
        "## Of the operator\n\n" + _metric_table(operator),
    )


def _metric_table(registry: CollectorRegistry) -> str:
    """Return a registry's own metrics; a process's, which every one has, are not in it."""
    rows = []
    for collector in registry._collector_to_names:
        labels: Iterable[str] = getattr(collector, "_labelnames", ())
        for family in collector.collect():
            name = family.name + "_total" * (family.type == "counter")
            row = (
                code(name),
                family.type,
                ", ".join(map(code, labels)),
                plain(family.documentation),
            )
            rows.append(row)
    return table(("name", "type", "labels", "meaning"), sorted(rows))


def _messages() -> str:
    topics = [
        (code(_topic(function, words)), sender, meaning)
        for sender, function, words, meaning in TOPICS
    ]
    parts = [
        "How they are exchanged, and what survives which failure: [Protocol](../protocol.md).",
        "## Topics\n\n" + table(("topic", "sender", "what"), topics),
        "## Messages in JSON\n\nA field that is marked *since* a minor version may be missing.",
        *(_json(model) for model in JSON),
        "## Messages in frames\n\nA frame has a header, and arrays and numbers behind it."
        " The arrays of each algorithm are on [its page](algorithms/index.md).",
        *(
            f"### {kind.__name__}\n\n{plain(about(cast(Any, kind)))}\n\n{frame_table(kind)}"
            for kind in FRAMES
        ),
    ]
    return page("Topics and messages", *parts)


def _topic(function: Any, words: tuple[str, ...]) -> str:
    return str(function(*words)) + ("/CHUNK" if {"SLOT", "SHA256"} & {*words} else "")


def _json(model: type[BaseModel]) -> str:
    rows = []
    marks = cast(Any, model).marks()
    for key, field in model.model_fields.items():
        since = f" *Since* {marks[key].minor}." if key in marks else ""
        text = plain(meaning_of(model, key)) + since
        rows.append((code(key), kind_of(model, key), default_of(field), text))
    fields = table(("field", "type", "default", "meaning"), rows)
    return f"### {model.__name__}\n\n{plain(about(model))}\n\n{fields}"


def frame_table(kind: type) -> str:
    """Return the fields of a message that travels in a frame."""
    if kind is wire.Envelope:
        fields = [(each.name, _written(each.type), "") for each in dataclasses.fields(kind)]
    else:
        fields = [(name, array_of(each), _range(each)) for name, each in schema(kind).items()]
    said = attributes(kind)
    rows = [(code(name), form, limits, plain(said.get(name, ""))) for name, form, limits in fields]
    return table(("field", "what", "range", "meaning"), rows)


def _written(annotation: Any) -> str:
    name = str(getattr(annotation, "__name__", annotation))
    found = re.search(r"\b(str|int|bool)\b", str(annotation) if "[" in str(annotation) else name)
    return {"str": "text", "int": "integer", "bool": "true or false"}[found[1]] if found else name


def array_of(field: Field) -> str:
    """Return what a field holds, such as `float32 (C, K)`."""
    return str(field.dtype) if field.scalar else f"{field.dtype} ({', '.join(field.dims)})"


def _range(field: Field) -> str:
    if field.range is None:
        return ""
    return f"{field.range.least:,} to {field.range.most:,}"


def attributes(kind: type) -> dict[str, str]:
    """Return what a class says of its attributes, by their names; several may share a text."""
    docs = [_said(each.__doc__ or "", indent=8) for each in reversed(kind.__mro__)]
    return {name: text for each in docs for name, text in each.items()}


def _said(docstring: str, indent: int) -> dict[str, str]:
    lines = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    form = rf"^ {{{indent}}}([\w, ]+): (.+?)(?=^ {{{indent}}}\w|\Z)"
    found = re.findall(form, lines, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def _http() -> str:
    unasked: Any = SimpleNamespace()  # what answers a request; none is made here
    parts = []
    servers = {
        "edgeloop server": console_api.app(*[unasked] * 5),
        "edgeloop aggregator": aggregator_http.app(lambda: unasked, Metrics()),
        "edgeloop ca": authority_http.app(
            unasked, cast(Any, SimpleNamespace(life=timedelta())), lambda: None
        ),
    }
    for name, app in servers.items():
        parts += [f"## {name}", *_operations(app)]
    text = (
        "What each server answers. An `edgeloop server` also serves this description of itself, as"
        " OpenAPI, at `/api/v1/openapi.json`. How to use it: [Console](../console.md)."
    )
    return page("HTTP", text, *parts)


def _operations(app: FastAPI) -> Iterator[str]:
    described = app.openapi()
    rows = []
    shared = described.get("components", {}).get("schemas", {})
    for path, methods in described["paths"].items():
        for method, each in methods.items():
            what = each.get("description") or each["summary"]
            given = [
                code(one["name"]) for one in each.get("parameters", ()) if one["in"] == "query"
            ]
            rows.append((code(f"{method.upper()} {path}"), plain(what), ", ".join(given)))
    yield table(("request", "what it does", "asks for"), rows)
    for name, model in shared.items():
        fields = {} if name.startswith("Page_") else model.get("properties", {})
        text = inspect.cleandoc(model.get("description", ""))
        said = _said(text, indent=4)
        rows = [(code(k), words_of(v, shared), plain(said.get(k, ""))) for k, v in fields.items()]
        if rows:
            head = f"### {plain(name)}\n\n{plain(text.split(chr(10) * 2)[0])}\n\n"
            yield head + table(("field", "type", "meaning"), rows)
