"""A task from its settings to its final prototypes; every round survives a crash."""

import logging
from pathlib import Path

from cloud.aggregator import http, origin, revocations
from cloud.aggregator.agreement import (
    GeneratorHandle,
    check_cohort,
    check_secure,
    load_base,
    make_contract,
    unchosen,
)
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.run import Run as Run
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.shared_rounds import check_shared
from cloud.aggregator.trust import announced, completed
from edgeloop import algorithms
from edgeloop.bases.sending import base_identity
from edgeloop.errors import RunError
from edgeloop.runtime import tracing
from edgeloop.runtime.tracing import Tracer

log = logging.getLogger(__name__)


def serve(settings: TaskSettings) -> Path:
    """Run a task to its end, or continue with it; return where the summary is.

    Raises:
        InputError: if the settings, the folder or the broker are not right.
        TooFewUploadsError: if a round was given up.
    """
    settings = completed(settings)
    check_cohort(settings)
    handle = GeneratorHandle(settings)
    # So that a wrong hyperparameter is an error before anything is written:
    check_secure(algorithms.load_for_contract(make_contract(settings, handle.generator)), settings)
    store = settings.ledger()
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("folder", f"cannot be made ({error})", "name another one") from error
    with (
        tracing.tracing_session(
            settings.trace, "edgeloop-aggregator", task=settings.name
        ) as tracer,
        Ledger.open(store) as ledger,
    ):
        return _serve(_make_run(settings, handle, ledger, tracer))


def _make_run(
    settings: TaskSettings, handle: GeneratorHandle, ledger: Ledger, tracer: Tracer
) -> Run:
    """Return the run that the ledger holds, or a new one."""
    origin.check(settings.folder, settings.name, ledger)
    if settings.ingest.shared:
        check_shared(ledger)
    begun = ledger.join(settings.name)
    base = load_base(settings, None if begun is None else base_identity(begun))
    wanted = make_contract(settings, handle.generator, base)
    contract = announced(ledger.adopt(wanted, unchosen(settings)), settings.broker)
    run = Run(settings, contract, ledger, handle, tracer=tracer, base=base)
    origin.note(settings.folder, settings.name, ledger)
    return run


def _serve(run: Run) -> Path:
    """Run to the end while HTTP is answered, and beyond if the task lingers."""
    settings = run.settings
    server = http.serve(http.app(run.status, run.metrics, run.details()), settings.http)
    server.start()
    log.info("metrics, health and status on %s", http.url(settings.http, server.port))
    try:
        with revocations.heeded(settings):
            summary = run.run_to_end()
        if settings.http.linger:
            log.info("finished; serving HTTP until stopped")
            run.stay()
        return summary
    finally:
        server.stop()
