"""Leader election: of several operators, the one that holds the Lease works."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

from kubernetes.client import CoordinationV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from urllib3.exceptions import HTTPError

from cloud.operator.cluster import error_message

log = logging.getLogger(__name__)

LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10, 2
"""How long a lease holds, how long its holder tries to renew it, and how often."""

SAY_SECONDS = 60.0
"""After how long a wait for the lease is told, once and again."""


def unique_identity() -> str:
    """Return a name for this process that no other has."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}-{secrets.token_hex(4)}"


def lead(identity: str, name: str, namespace: str, work: Callable[[threading.Event], None]) -> bool:
    """Wait for the lease, then work until the work ends or the lease is lost.

    Args:
        identity: of this process; after a crash the same one need not wait for its own lease.
        name: of the Lease.
        namespace: of the Lease.
        work: called with a flag that is set when it must stop, since another may lead.

    Returns:
        whether the work ended by itself.
    """
    lock = _Lock(name, namespace, identity)
    started, lost = threading.Event(), threading.Event()
    config = Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, started.set, lost.set)
    threading.Thread(target=LeaderElection(config).run, name="lease", daemon=True).start()
    while not started.wait(SAY_SECONDS):
        log.warning("waiting for the lease %s in %s: %s", name, namespace, lock.reason)
    work(lost)
    if lost.is_set():
        return False
    lock.release()
    return True


class _Lock:
    """A Lease that survives an API server that is away, and is given back at the end.

    Attributes:
        reason: why this process does not hold it.
    """

    def __init__(self, name: str, namespace: str, identity: str) -> None:
        self.name, self.namespace, self.identity = name, namespace, identity
        self.reason = "nothing was answered yet"
        self._lease: Any = LeaseLock(name, namespace, identity)
        self._released = False
        self._writing = threading.Lock()  # of the thread that renews, and of the one that ends

    def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Return whether the lease could be read, and what it holds."""
        try:
            there, found = self._lease.get(name, namespace)
        except HTTPError as error:
            there, found = False, ApiException(status=0, reason=str(error))
        if there:
            self.reason = f"{found.holder_identity or 'nobody'} holds it"
        else:
            self.reason = error_message(found)
        return there, found

    def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Return whether the lease could be made."""
        return self._survived(lambda: self._lease.create(name, namespace, election_record))

    def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Return whether the lease could be renewed."""
        with self._writing:
            if self._released:
                return False
            return self._survived(lambda: self._lease.update(name, namespace, updated_record))

    def release(self) -> None:
        """Let another take the lease at once, not when it runs out."""
        with self._writing:
            self._released = True
        api = CoordinationV1Api()
        try:
            lease = api.read_namespaced_lease(self.name, self.namespace)
            if lease.spec is not None and lease.spec.holder_identity == self.identity:
                lease.spec.holder_identity = None
                api.replace_namespaced_lease(self.name, self.namespace, lease)
        except (ApiException, HTTPError) as error:
            log.warning("the lease runs out by itself: %s", error)

    def _survived(self, ask: Callable[[], bool]) -> bool:
        try:
            done = bool(ask())
        except HTTPError as error:
            log.warning("the lease could not be renewed: %s", error)
            return False
        if not done:
            self.reason = "the cluster did not let it be written; may the operator write leases?"
        return done
