"""Runs the FederatedTasks, Generators, Bases and Devices of a Kubernetes cluster."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import kopf
import typer

from cloud.operator import certificates_command, cluster, handlers, lease
from cloud.operator.admissions import Admissions
from cloud.operator.bases import Bases
from cloud.operator.cluster import Cluster
from cloud.operator.devices import Devices
from cloud.operator.generators import Generators
from cloud.operator.monitor import Monitor
from cloud.operator.removals import Removals
from cloud.operator.settings import OperatorSettings
from cloud.operator.task_certificates import TaskCertificates
from cloud.operator.tasks import Tasks
from cloud.operator.triton import Triton
from edgeloop.cli import console, options
from edgeloop.cli.stopping import TerminatedError
from edgeloop.errors import EXIT_TAKEN, ConfigError, choose
from edgeloop.runtime import logs

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5

PREFIX = "EDGELOOP_OPERATOR_"


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop operator`, or `edgeloop operator certificates`, with these arguments."""
    if arguments[:1] == ["certificates"]:
        return console.run(certificates_command.make, "operator certificates", arguments[1:])
    return console.run(operator, "operator", arguments)


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(
        f"--{name}", envvar=PREFIX + name.upper().replace("-", "_"), help=text, **more
    )


@options.of(OperatorSettings, "operator", prefix=PREFIX)
def operator(  # noqa: PLR0913 - an option each
    settings: OperatorSettings,
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
) -> None:
    """Manage the FederatedTasks, Generators, Bases and Devices of namespaces until stopped."""
    logs.configure(settings.log_format, _level(log_level))
    for each in ("leaderelection", "kopf.objects"):  # they tell of every renewal and every look
        logging.getLogger(each).setLevel(logging.WARNING)
    cluster.configure()
    monitor = Monitor()
    log.info("metrics and health on http://%s:%d", host, monitor.serve(host, port))
    who, where = identity or lease.unique_identity(), lease_namespace or settings.namespaces[0]
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
    certificates = TaskCertificates(found, settings)
    tasks, removals = Tasks(found, settings, certificates), Removals(found, settings, certificates)
    generators = Generators(found, settings, _triton(settings))
    admissions = Admissions(settings) if settings.authority_token_file else None
    devices, interval = Devices(found, settings, admissions), settings.interval_seconds
    carers = handlers.Carers(tasks, removals, generators, Bases(found, settings), devices)

    async def watch(lost: threading.Event) -> None:
        ended = asyncio.Event()
        registry = handlers.registry(carers, monitor, interval)
        _note_ends(registry, ended, interrupts)
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
        found.follow(settings.namespaces)
        asyncio.run(watch(lost))

    return work


def _triton(settings: OperatorSettings) -> Triton | None:
    place = settings.triton_pods or settings.triton
    writable = settings.repository_claim and settings.generator_image
    return Triton(place, settings.answer_seconds) if place and writable else None


def _note_ends(
    registry: kopf.OperatorRegistry, ended: asyncio.Event, interrupts: list[int]
) -> None:
    """Have kopf say when a signal ends it, and note a Ctrl-C."""

    @kopf.on.startup(registry=registry)
    async def _begin(**_: Any) -> None:
        def interrupt() -> None:
            interrupts.append(signal.SIGINT)
            ended.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)

    @kopf.on.cleanup(registry=registry)
    async def _end(**_: Any) -> None:
        ended.set()  # after a signal, too, or kopf waits for it


async def _show_life(monitor: Monitor, lost: threading.Event, ended: asyncio.Event) -> None:
    """Show that kopf's event loop turns, and have kopf end when the lease is lost."""
    while not lost.is_set():
        monitor.beat()
        await asyncio.sleep(BEAT_SECONDS)
    ended.set()
