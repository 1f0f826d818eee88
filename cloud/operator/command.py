"""Runs the FederatedTasks, Generators and Bases of a Kubernetes cluster."""

import asyncio
import logging
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
from edgeloop.errors import ConfigError
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


def operator(
    namespaces: Annotated[list[str], _option("namespace", "To look after; may be repeated.")],
    aggregator_image: Annotated[str, _option("aggregator-image", "Of the aggregators' pods.")],
    broker_host: Annotated[str, _option("broker-host", "MQTT broker of tasks that name none.")],
    broker_port: Annotated[int, _option("broker-port", "Of its listener.")] = 8883,
    broker_secret: Annotated[
        str, _option("broker-secret", "With ca.crt, tls.crt, tls.key; plain MQTT without.")
    ] = "",
    broker_client_certificates: Annotated[
        bool, _flag("broker-client-certificates", "Show the secret's, or only check the broker's.")
    ] = True,
    broker_username: Annotated[str, _option("broker-username", "If it wants one.")] = "",
    broker_password_secret: Annotated[
        str, _option("broker-password-secret", "With the password, if it wants one.")
    ] = "",
    broker_password_key: Annotated[
        str, _option("broker-password-key", "Of that secret.")
    ] = "password",  # noqa: S107 - where it is
    database_secret: Annotated[
        str, _option("database-secret", "With a PostgreSQL URL; SQLite without.")
    ] = "",
    database_key: Annotated[str, _option("database-key", "Of that secret.")] = "url",
    triton: Annotated[str, _option("triton", "HOST:PORT of its gRPC, if there is one.")] = "",
    triton_pods: Annotated[
        str, _option("triton-pods", "The same by a name of all its pods, where there are several.")
    ] = "",
    triton_secret: Annotated[
        str, _option("triton-secret", "With what the server asks of whoever controls it.")
    ] = "",
    triton_secret_key: Annotated[str, _option("triton-secret-key", "Of that secret.")] = "secret",  # noqa: S107 - where it is
    repository_claim: Annotated[
        str, _option("repository-claim", "Volume claim with Triton's model repository.")
    ] = "",
    generator_image: Annotated[
        str,
        _option("generator-image", "Of the jobs that write generators, and of servers of bases."),
    ] = "",
    pull_policy: Annotated[str, _option("pull-policy", "Of both images.")] = "IfNotPresent",
    pull_secrets: Annotated[
        list[str] | None, _option("pull-secret", "Of both images; may be repeated.")
    ] = None,
    aggregator_url: Annotated[
        str,
        _option("aggregator-url", "Where {name} in {namespace} answers, if not by its Service."),
    ] = OperatorSettings.model_fields["aggregator_url"].default,
    base_url: Annotated[
        str, _option("base-url", "Where the server {name} of bases in {namespace} answers.")
    ] = OperatorSettings.model_fields["base_url"].default,
    store_claim: Annotated[
        str, _option("store-claim", "Volume claim with a store of bases and generators.")
    ] = "",
    trace_endpoint: Annotated[
        str, _option("trace-endpoint", "Of the aggregators' OpenTelemetry collector.")
    ] = "",
    trace_sampling: Annotated[
        float, _option("trace-sampling", "The share of the rounds that are traced.")
    ] = 1.0,
    trace_headers_secret: Annotated[
        str, _option("trace-headers-secret", "With headers for the collector.")
    ] = "",
    trace_headers_key: Annotated[str, _option("trace-headers-key", "Of that secret.")] = "headers",
    forget_seconds: Annotated[
        float, _option("forget", "Seconds for taking back what a deleted task leaves.")
    ] = 300.0,
    interval_seconds: Annotated[
        float, _option("interval", "Seconds between two looks at a task.")
    ] = 10.0,
    answer_seconds: Annotated[
        float, _option("answer", "Seconds that an aggregator or Triton may take to answer.")
    ] = 5.0,
    lease_namespace: Annotated[
        str, _option("lease-namespace", "Of the leader's Lease; by default the first one.")
    ] = "",
    lease_name: Annotated[
        str, _option("lease-name", "Of the leader's Lease.")
    ] = "edgeloop-operator",
    identity: Annotated[
        str, _option("identity", "Of this process, as no other's; the pod's name is one.")
    ] = "",
    host: Annotated[str, _option("host", "Address of its metrics and health.")] = "127.0.0.1",
    port: Annotated[
        int, _option("port", "Of its metrics and health; 0 for any free one.", min=0, max=65535)
    ] = 9465,
    log_level: Annotated[str, _option("log-level", "debug, info, warning or error.")] = "info",
    log_format: Annotated[
        logs.Format, _option("log-format", "Of its own log, and of the aggregators'.")
    ] = "plain",
) -> None:
    """Look after some namespaces' FederatedTasks, Generators and Bases, until it is stopped."""
    given = locals()  # an empty flag is none: a chart's template passes them all
    told = {name: given[name] for name in OperatorSettings.model_fields}
    chosen = {name: value for name, value in told.items() if value not in ("", None)}
    settings = files.parse(chosen, OperatorSettings, "edgeloop operator")
    logs.begin(log_format, _level(log_level))
    for each in ("leaderelection", "kopf.objects"):  # they tell of every renewal and every look
        logging.getLogger(each).setLevel(logging.WARNING)
    cluster.configure()
    monitor = Monitor()
    log.info("metrics and health on http://%s:%d", host, monitor.serve(host, port))
    who, where = identity or lease.some_identity(), lease_namespace or namespaces[0]
    work = _work(settings, Cluster(), monitor, who)
    if not lease.lead(who, lease_name, where, work):
        log.critical("the lease is lost: another operator may lead now")
        raise typer.Exit(1)


def _level(name: str) -> int:
    try:
        return logging.getLevelNamesMapping()[name.upper()]
    except KeyError:
        raise ConfigError(
            "log-level", f"is {name!r}", "give debug, info, warning or error"
        ) from None


def _work(
    settings: OperatorSettings, found: Cluster, monitor: Monitor, who: str
) -> Callable[[threading.Event], None]:
    """Return what the leader does until its lease is lost, or a signal comes."""
    place = settings.triton_pods or settings.triton
    writable = settings.repository_claim and settings.generator_image
    triton = Triton(place, settings.answer_seconds) if place and writable else None
    tasks, removals = Tasks(found, settings), Removals(found, settings)
    generators, interval = Generators(found, settings, triton), settings.interval_seconds
    bases = Bases(found, settings)

    async def watch(lost: threading.Event) -> None:
        ended = asyncio.Event()
        registry = handlers.registry(tasks, removals, generators, bases, monitor, interval)

        @kopf.on.cleanup(registry=registry)
        async def _end(**_: Any) -> None:
            ended.set()  # after a signal, too, or kopf waits for it

        turning = asyncio.create_task(_turn(monitor, lost, ended))
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


async def _turn(monitor: Monitor, lost: threading.Event, ended: asyncio.Event) -> None:
    """Show that kopf's event loop turns, and have kopf end when the lease is lost."""
    while not lost.is_set():
        monitor.beat()
        await asyncio.sleep(BEAT_SECONDS)
    ended.set()
