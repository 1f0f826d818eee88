"""Runs a server: looks at the tasks, and answers."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from cloud.console import api, knowledge_page, pages, problems
from cloud.console.acting import Actions
from cloud.console.alone import AloneRuns
from cloud.console.following import Follower
from cloud.console.knowledge import Knowledge
from cloud.console.rollouts import pages as rollout_pages
from cloud.console.rollouts.files import Files
from cloud.console.rollouts.service import Rollouts
from cloud.console.sessions import Sessions, SignedIn
from cloud.console.settings import ServerSettings
from cloud.console.sources import Followed, Source
from cloud.console.stack_source import Stack
from cloud.console.store import Store
from cloud.http.access import Guard, Rules, Tokens, allowed_hosts
from cloud.http.server import Server
from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime.repeating import Repeated

log = logging.getLogger(__name__)


@contextmanager
def serving(settings: ServerSettings) -> Iterator[Server]:
    """Serve while a block runs.

    Raises:
        ConfigError: if a setting is wrong.
        RunError: if its database cannot be used.
        TakenError: if another process listens on the port.
    """
    tokens = Tokens(settings.tokens_file)
    sources = sources_of(settings)
    tls = _context(settings)
    _make_folder(settings)
    with closing(Store(settings.database())) as store, ExitStack() as stack:
        follower = Follower(store, sources, AloneRuns(settings.alone))
        looking = stack.enter_context(Repeated(settings.poll_seconds, follower.look, first=True))
        actions = Actions(store, follower, looking.wake)
        rollouts = stack.enter_context(_rolling_out(settings, store, follower))
        rules = Rules(
            api.needed,
            tokens,
            allowed_hosts(settings.hosts),
            note=lambda who, act, what, why: store.note(who, act, what, "refused", why),
            answer=problems.of_guard,
            most_bytes=api.most_bytes,
        )
        sessions = Sessions(tokens)
        knowledge = Knowledge(follower)
        whole = api.app(store, follower, actions, knowledge, rollouts)
        made = pages.add(whole, store, actions, sessions, secure=tls is not None)
        rollout_pages.add(whole, made, rollouts)
        knowledge_page.add(whole, store, knowledge)
        guarded = Guard(whole, rules)
        server = Server(SignedIn(guarded, sessions), settings.listen, settings.port, tls)
        server.start()
        stack.callback(server.stop)
        scheme = "http" if tls is None else "https"
        log.info("answers at %s://%s:%d", scheme, settings.listen, server.port)
        yield server


@contextmanager
def _rolling_out(settings: ServerSettings, store: Store, follower: Follower) -> Iterator[Rollouts]:
    rollouts = Rollouts(store, follower, Files(settings.folder), settings.broker)
    try:
        with Repeated(settings.poll_seconds, rollouts.turn) as turning:
            rollouts.turn_soon = turning.wake
            yield rollouts
    finally:
        rollouts.close()


def sources_of(settings: ServerSettings) -> list[Source]:
    """Return where tasks are run.

    Raises:
        ConfigError: if a stack's file is wrong, or there is no access to a cluster.
    """
    found: list[Source] = []
    if settings.stack is not None:
        found.append(Stack(settings.stack, settings.token_file))
    if settings.namespaces:
        found.append(_cluster(settings))
    if settings.aggregators:
        found.append(Followed(settings.aggregators))
    return found


def _cluster(settings: ServerSettings) -> Source:
    try:
        from cloud.console.cluster_source import Cluster  # its client is an extra's
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ConfigError("namespaces", problem, "pip install 'edgeloop[operator]'") from error
    return Cluster(settings.namespaces, settings.aggregator_url, settings.token_file)


def _context(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
    except OSError as error:  # an SSLError is one
        field = "certificate_file, key_file"
        raise ConfigError(field, f"cannot be used ({error})", "give PEM files") from error
    return context


def _make_folder(settings: ServerSettings) -> None:
    try:
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise RunError("folder", f"cannot be made ({error})", "name another one") from error
