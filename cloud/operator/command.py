"""Runs the FederatedTasks, Generators and Bases of a Kubernetes cluster."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import kopf
import typer

from cloud.operator import cluster, handlers, lease
from cloud.operator.bases import Bases
from cloud.operator.cluster import Cluster
from cloud.operator.generators import Generators
from cloud.operator.monitor import Monitor
from cloud.operator.removals import Removals
from cloud.operator.settings import OperatorSettings
from cloud.operator.tasks import Tasks
from cloud.operator.triton import Triton
from edgeloop.cli import console
from edgeloop.cli.stopping import TerminatedError
from edgeloop.errors import EXIT_TAKEN, ConfigError, choose
from edgeloop.runtime import config as files
from edgeloop.runtime import logs

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5

PREFIX = "EDGELOOP_OPERATOR_"


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop operator` with these arguments."""
    return console.run(operator, "operator", arguments)


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(
        f"--{name}", envvar=PREFIX + name.upper().replace("-", "_"), help=text, **more
    )


def _flag(name: str, text: str) -> Any:
    variable = PREFIX + name.upper().replace("-", "_")
    return typer.Option(f"--{name}/--no-{name}", envvar=variable, help=text)


def operator(  # noqa: PLR0913 - an option each
    namespaces: Annotated[list[str], _option("namespace", "Namespace to watch. May be repeated.")],
    aggregator_image: Annotated[str, _option("aggregator-image", "Image of the aggregator pods.")],
    broker_host: Annotated[str, _option("broker-host", "MQTT broker for tasks that name none.")],
    broker_port: Annotated[int, _option("broker-port", "Port of the broker.")] = 8883,
    broker_secret: Annotated[
        str,
        _option("broker-secret", "Secret with ca.crt, tls.crt, tls.key; without it, plain MQTT."),
    ] = "",
    broker_client_certificates: Annotated[
        bool,
        _flag(
            "broker-client-certificates",
            "Present a client certificate, or only verify the broker's.",
        ),
    ] = True,
    broker_username: Annotated[
        str, _option("broker-username", "User name at the broker, if it needs one.")
    ] = "",
    broker_password_secret: Annotated[
        str, _option("broker-password-secret", "Secret with the broker password, if it needs one.")
    ] = "",
    broker_password_key: Annotated[
        str, _option("broker-password-key", "Key of that secret.")
    ] = "password",  # noqa: S107 - where it is
    database_secret: Annotated[
        str, _option("database-secret", "Secret with a PostgreSQL URL; without it, SQLite.")
    ] = "",
    database_key: Annotated[str, _option("database-key", "Key of that secret.")] = "url",
    triton: Annotated[
        str, _option("triton", "HOST:PORT of Triton's gRPC endpoint, if there is one.")
    ] = "",
    triton_pods: Annotated[
        str,
        _option(
            "triton-pods", "HOST:PORT that resolves to all Triton pods, where there are several."
        ),
    ] = "",
    triton_secret: Annotated[
        str, _option("triton-secret", "Secret with Triton's model-control token.")
    ] = "",
    triton_secret_key: Annotated[
        str, _option("triton-secret-key", "Key of that secret.")
    ] = "secret",  # noqa: S107 - where it is
    repository_claim: Annotated[
        str, _option("repository-claim", "Volume claim of Triton's model repository.")
    ] = "",
    generator_image: Annotated[
        str,
        _option("generator-image", "Of the jobs that write generators, and of servers of bases."),
    ] = "",
    pull_policy: Annotated[
        str, _option("pull-policy", "Pull policy of both images.")
    ] = "IfNotPresent",
    pull_secrets: Annotated[
        list[str] | None, _option("pull-secret", "Pull secret of both images. May be repeated.")
    ] = None,
    aggregator_url: Annotated[
        str,
        _option("aggregator-url", "URL of aggregator {name} in {namespace}, if not its Service."),
    ] = OperatorSettings.model_fields["aggregator_url"].default,
    base_url: Annotated[
        str, _option("base-url", "Where the server {name} of bases in {namespace} answers.")
    ] = OperatorSettings.model_fields["base_url"].default,
    store_claim: Annotated[
        str, _option("store-claim", "Volume claim with a store of bases and generators.")
    ] = "",
    trace_endpoint: Annotated[
        str, _option("trace-endpoint", "OpenTelemetry collector of the aggregators.")
    ] = "",
    trace_sampling: Annotated[
        float, _option("trace-sampling", "Fraction of the rounds that are traced.")
    ] = 1.0,
    trace_headers_secret: Annotated[
        str, _option("trace-headers-secret", "Secret with headers for the collector.")
    ] = "",
    trace_headers_key: Annotated[
        str, _option("trace-headers-key", "Key of that secret.")
    ] = "headers",
    forget_seconds: Annotated[
        float, _option("forget", "Seconds to clean up after a deleted task.")
    ] = 300.0,
    interval_seconds: Annotated[
        float, _option("interval", "Seconds between two reconciliations of a task.")
    ] = 10.0,
    answer_seconds: Annotated[
        float, _option("answer", "Timeout, in seconds, of requests to an aggregator or Triton.")
    ] = 5.0,
    lease_namespace: Annotated[
        str, _option("lease-namespace", "Namespace of the leader's Lease. [default: the first one]")
    ] = "",
    lease_name: Annotated[
        str, _option("lease-name", "Name of the leader's Lease.")
    ] = "edgeloop-operator",
    identity: Annotated[
        str, _option("identity", "Unique identity of this process, such as the pod's name.")
    ] = "",
    host: Annotated[str, _option("host", "Address to serve metrics and health on.")] = "127.0.0.1",
    port: Annotated[
        int,
        _option(
            "port", "Port to serve metrics and health on; 0 for any free one.", min=0, max=65535
        ),
    ] = 9465,
    log_level: Annotated[
        str, _option("log-level", "Log level: debug, info, warning or error.")
    ] = "info",
    log_format: Annotated[
        logs.Format, _option("log-format", "Log format of the operator and the aggregators.")
    ] = "plain",
) -> None:
    """Look after some namespaces' FederatedTasks, Generators and Bases, until it is stopped."""
    given = locals()  # an empty flag is none: a chart's template passes them all
    told = {name: given[name] for name in OperatorSettings.model_fields}
    chosen = {name: value for name, value in told.items() if value not in ("", None)}
    settings = files.parse(chosen, OperatorSettings, "edgeloop operator")
    logs.configure(log_format, _level(log_level))
    for each in ("leaderelection", "kopf.objects"):  # they tell of every renewal and every look
        logging.getLogger(each).setLevel(logging.WARNING)
    cluster.configure()
    monitor = Monitor()
    log.info("metrics and health on http://%s:%d", host, monitor.serve(host, port))
    who, where = identity or lease.unique_identity(), lease_namespace or namespaces[0]
    stops: list[int] = []
    work = _work(settings, Cluster(), monitor, who, stops)
    if not lease.lead(who, lease_name, where, work):
        log.critical("the lease is lost: another operator may lead now")
        raise typer.Exit(EXIT_TAKEN)
    if stops:
        raise KeyboardInterrupt
    raise TerminatedError


def _level(name: str) -> int:
    try:
        return logging.getLevelNamesMapping()[name.upper()]
    except KeyError:
        known = choose(name, ("debug", "info", "warning", "error"))
        raise ConfigError("log-level", f"there is no {name!r}", known) from None


def _work(
    settings: OperatorSettings,
    found: Cluster,
    monitor: Monitor,
    who: str,
    interrupts: list[int],
) -> Callable[[threading.Event], None]:
    """Return what the leader does until its lease is lost, or a signal comes; it notes a Ctrl-C."""
    place = settings.triton_pods or settings.triton
    writable = settings.repository_claim and settings.generator_image
    triton = Triton(place, settings.answer_seconds) if place and writable else None
    tasks, removals = Tasks(found, settings), Removals(found, settings)
    generators, interval = Generators(found, settings, triton), settings.interval_seconds
    bases = Bases(found, settings)

    async def watch(lost: threading.Event) -> None:
        ended = asyncio.Event()
        registry = handlers.registry(tasks, removals, generators, bases, monitor, interval)

        @kopf.on.startup(registry=registry)
        async def _begin(**_: Any) -> None:
            def interrupt() -> None:
                interrupts.append(signal.SIGINT)
                ended.set()

            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)

        @kopf.on.cleanup(registry=registry)
        async def _end(**_: Any) -> None:
            ended.set()  # after a signal, too, or kopf waits for it

        turning = asyncio.create_task(_show_life(monitor, lost, ended))
        await kopf.operator(
            registry=registry,
            settings=handlers.settings(kopf.OperatorSettings(), interval),
            namespaces=settings.namespaces,
            standalone=True,
            identity=cast(Any, who),  # else it asks for a user's name, which a pod has not
            stop_flag=ended,
        )
        turning.cancel()

    def work(lost: threading.Event) -> None:
        log.info("looks after %s", ", ".join(settings.namespaces))
        monitor.leads()
        asyncio.run(watch(lost))

    return work


async def _show_life(monitor: Monitor, lost: threading.Event, ended: asyncio.Event) -> None:
    """Show that kopf's event loop turns, and have kopf end when the lease is lost."""
    while not lost.is_set():
        monitor.beat()
        await asyncio.sleep(BEAT_SECONDS)
    ended.set()
