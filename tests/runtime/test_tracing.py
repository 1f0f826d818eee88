"""An upload's way as a trace: over a real broker, and to a collector that reads OTLP."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cloud.aggregator import settings as cloud
from cloud.aggregator.agreement import GeneratorHandle, make_contract
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.service import Run
from edgeloop.errors import ConfigError
from edgeloop.runtime import tracing
from edgeloop.runtime.config import BrokerSettings, parse, read
from edgeloop.runtime.tracing import SILENT, Spans, TraceSettings
from tests.devices import at_work
from tests.one_device import DEVICE, ROUNDS, Task, write_data


@pytest.fixture
def spans() -> Iterator[tuple[Spans, InMemorySpanExporter]]:
    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    yield Spans(provider), kept
    provider.shutdown()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def own(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return int(context.span_id)


@pytest.mark.broker
def test_an_uploads_way(
    tmp_path: Path, broker: BrokerSettings, spans: tuple[Spans, InMemorySpanExporter]
) -> None:
    tracer, kept = spans
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    settings = read(task.config(), cloud.TaskSettings)
    settings.folder.mkdir()
    with Ledger.open(settings.ledger()) as ledger, ThreadPoolExecutor(1) as pool:
        run = Run(
            settings,
            ledger.adopt(make_contract(settings)),
            ledger,
            GeneratorHandle(settings),
            tracer=tracer,
        )
        ended = pool.submit(run.run_to_end)
        with at_work(task.device(), tracer=tracer) as device:
            device.ended.result(60)
        ended.result(60)
    finished = kept.get_finished_spans()
    assert {span.name for span in finished} == {
        *("gather", "train", "upload", "receive", "check", "record", "aggregate", "store")
    }
    for number in range(ROUNDS):
        one_round([span for span in finished if trace_of(span) == trace_id(finished, number)])


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return int(context.trace_id)


def trace_id(finished: tuple[ReadableSpan, ...], number: int) -> int:
    """Return the trace of a round."""
    (root,) = [
        span
        for span in finished
        if span.name == "gather" and (span.attributes or {})["edgeloop.round"] == number
    ]
    return trace_of(root)


def one_round(found: list[ReadableSpan]) -> None:
    """See that all of a round hangs together."""
    by_name = {span.name: span for span in found}
    assert len(by_name) == len(found) == 8, [span.name for span in found]
    root = by_name["gather"]
    assert parent_of(root) is None
    parents = {
        "train": root,
        "upload": root,
        "receive": by_name["upload"],
        "check": by_name["receive"],
        "record": by_name["receive"],
        "aggregate": root,
        "store": root,
    }
    for name, parent in parents.items():
        assert parent_of(by_name[name]) == own(parent), name
    assert [link.context.span_id for link in by_name["aggregate"].links] == [
        own(by_name["receive"])
    ]
    assert (by_name["receive"].attributes or {})["edgeloop.device"] == DEVICE


def test_an_error_is_on_its_span_and_strange_notes_begin_a_trace(
    spans: tuple[Spans, InMemorySpanExporter],
) -> None:
    tracer, kept = spans
    with pytest.raises(ValueError, match="wrong"), tracer.span("check", {"traceparent": "xyz"}):
        raise ValueError("wrong")
    (span,) = kept.get_finished_spans()
    assert span.parent is None
    assert not span.status.is_ok
    assert [event.name for event in span.events] == ["exception"]


@contextmanager
def collector(
    headers: list[Message] | None = None,
) -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """Run what takes traces as a collector does; yield its address and what it was sent."""
    heard: list[tuple[str, ExportTraceServiceRequest]] = []
    noted = [] if headers is None else headers

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, ExportTraceServiceRequest.FromString(body)))
            noted.append(self.headers)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()
        thread.join()


def test_a_collector_is_sent_what_was_made() -> None:
    with collector() as (address, heard):
        settings = TraceSettings(endpoint=f"{address}/")
        with (
            tracing.tracing_session(settings, "edgeloop-agent", device="one") as tracer,
            tracer.span("train", round=3) as notes,
        ):
            pass
    ((path, request),) = heard
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    facts = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert facts["service.name"] == "edgeloop-agent"
    assert facts["edgeloop.device"] == "one"
    (span,) = resource.scope_spans[0].spans
    assert span.name == "train"
    assert notes["traceparent"].split("-")[2] == span.span_id.hex()


def test_a_collector_is_shown_the_headers_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization=Bearer%20a%3Db,tenant=plant\nnot this\n")
    noted: list[Message] = []
    with collector(noted) as (address, _):
        settings = TraceSettings(endpoint=address, headers_file=file)
        with tracing.tracing_session(settings, "edgeloop-agent") as tracer, tracer.span("train"):
            pass
    (headers,) = noted
    assert (headers["Authorization"], headers["tenant"]) == ("Bearer a=b", "plant")
    lost = TraceSettings(endpoint=address, headers_file=tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"^trace.headers_file: cannot be read"):
        tracing.tracing_session(lost, "edgeloop-agent").__enter__()


def test_who_opens_a_round_draws_and_the_others_follow() -> None:
    with collector() as (address, heard):
        none, every = (TraceSettings(endpoint=address, sampling=share) for share in (0.0, 1.0))
        with (
            tracing.tracing_session(none, "edgeloop-aggregator") as cloud_side,
            tracing.tracing_session(every, "edgeloop-agent") as device,
            cloud_side.span("gather") as notes,
            device.span("train", notes),
        ):
            pass
        assert heard == []
        with (
            tracing.tracing_session(every, "edgeloop-aggregator") as cloud_side,
            tracing.tracing_session(none, "edgeloop-agent") as device,
        ):
            with cloud_side.span("gather") as notes:
                pass
            with device.span("train", notes):
                pass
        names = {
            span.name
            for _, request in heard
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
        assert names == {"gather", "train"}


def test_without_an_endpoint_nothing_is_made_and_a_device_imports_nothing() -> None:
    with tracing.tracing_session(TraceSettings(), "edgeloop-agent") as tracer:
        assert tracer is SILENT
        with tracer.span("train") as notes:
            assert notes == {}
    program = (
        "import sys; import edge.agent.command;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_without_opentelemetry_an_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    begun = tracing.tracing_session(
        TraceSettings(endpoint="http://127.0.0.1:4318"), "edgeloop-agent"
    )
    with pytest.raises(ConfigError, match=r"pip install 'edgeloop\[otel\]'"):
        begun.__enter__()


def test_an_endpoint_is_an_address() -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        parse({"endpoint": "collector:4318"}, TraceSettings, "task.toml")
