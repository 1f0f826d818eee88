"""Traces of an upload's way, by OpenTelemetry where somebody asks for them.

A span hands on where it is in notes (W3C's traceparent), which messages carry as a field; those of
0.1 as user properties.
The only place that knows OpenTelemetry, and it imports it only to begin traces.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Settings, first_line

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Notes = Mapping[str, str]
Fact = str | int | float | bool

NONE: Notes = {}
PARENT = "traceparent"
EXPORT_SECONDS = 5.0
"""That a collector may take; one that is away costs spans, and nothing else."""


def context_of(notes: Notes) -> str:
    """Return a span's notes as a message's field; empty without a trace."""
    return notes.get(PARENT, "")


def notes_of(context: str, notes: Notes = NONE) -> Notes:
    """Return the notes of a message's field; without one, those that came beside the message."""
    return {PARENT: context} if context else notes


class TraceSettings(Settings):
    """The `[trace]` table.

    Attributes:
        endpoint: URL of an OpenTelemetry collector, OTLP over HTTP; no traces if not given.
        sampling: fraction of the rounds that are traced, drawn when a round opens.
        headers_file: file whose first line has headers for the collector, in the form of
            OpenTelemetry's variable: name=value,name=value, percent-encoded.
    """

    endpoint: Annotated[str, Field(pattern="^https?://[^/]")] | None = None
    sampling: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    headers_file: Path | None = None


class Tracer(Protocol):
    """What makes spans."""

    def span(
        self, name: str, of: Notes | None = None, links: Sequence[Notes] = (), **facts: Fact
    ) -> AbstractContextManager[Notes]:
        """Open a span for a block; it yields the notes for whoever continues with it.

        Args:
            name: what is done.
            of: the span that it belongs to; the one that is open in this thread if these notes
                name none.
            links: further spans that led to it.
            facts: about it.
        """
        ...


class Silent:
    """Makes no spans."""

    def span(
        self, name: str, of: Notes | None = None, links: Sequence[Notes] = (), **facts: Fact
    ) -> AbstractContextManager[Notes]:
        """Do nothing; yield no notes."""
        return nullcontext(NONE)


SILENT = Silent()


class Spans:
    """Makes OpenTelemetry's spans.

    Args:
        provider: of the process.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        self._tracer = provider.get_tracer("edgeloop")

    @contextmanager
    def span(
        self, name: str, of: Notes | None = None, links: Sequence[Notes] = (), **facts: Fact
    ) -> Iterator[Notes]:
        """Open a span for a block, as `Tracer` says; an error in the block is on it."""
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        way = TraceContextTextMapPropagator()
        found = [trace.get_current_span(way.extract(each)).get_span_context() for each in links]
        with self._tracer.start_as_current_span(
            name,
            context=way.extract(of or NONE, context.get_current()),
            links=[trace.Link(each) for each in found if each.is_valid],
            attributes={f"edgeloop.{key}": value for key, value in facts.items()},
        ):
            notes: dict[str, str] = {}
            way.inject(notes)
            yield notes


@contextmanager
def tracing_session(settings: TraceSettings, service: str, **facts: str) -> Iterator[Tracer]:
    """Yield what makes spans until the block ends; what was made is then sent.

    Args:
        settings: where to.
        service: the process's name among others.
        facts: about the whole process.

    Raises:
        ConfigError: if traces are asked for and OpenTelemetry is not installed, or if the headers
            cannot be read.
    """
    if settings.endpoint is None:
        yield SILENT
        return
    provider = _provider(settings, settings.endpoint, service, facts)
    try:
        yield Spans(provider)
    finally:
        provider.shutdown()


def _provider(
    settings: TraceSettings, endpoint: str, service: str, facts: Mapping[str, str]
) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.util.re import parse_env_headers
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ConfigError("trace.endpoint", problem, "pip install 'edgeloop[otel]'") from error
    known = {f"edgeloop.{name}": value for name, value in facts.items()}
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, **known}),
        sampler=ParentBasedTraceIdRatio(settings.sampling),
    )
    file = settings.headers_file
    line = "" if file is None else first_line(file, "trace.headers_file")
    headers = dict(parse_env_headers(line, liberal=True))
    to = f"{endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=to, headers=headers or None, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
