"""The certificates of tasks' aggregators: signed by the operator, each in a secret of its task.

A certificate says that its holder is the aggregator of one task, by the name that devices call it.
What is in secrets is read only where the operator has written it, and once for each version.
"""

import base64
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cloud.operator import certificates, config, manifests, objects
from cloud.operator.certificates import AUTHORITY, CERTIFICATE, KEY, Pair, Wanted
from cloud.operator.cluster import Cluster, Object
from cloud.operator.objects import Manifest
from cloud.operator.references import NotReadyError
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Meta, Task
from edgeloop.protocol.task import SERVER


@dataclass(frozen=True)
class Settled:
    """A secret that was found to be as it should be.

    Attributes:
        version: of the secret then.
        data: digest of what it was to be like: the authorities, the task's name.
        until: when its certificate is to be made anew.
    """

    version: str
    data: str
    until: datetime


@dataclass(frozen=True)
class TaskCertificates:
    """Makes the certificates of tasks' aggregators, renews them, and puts back what was changed.

    Attributes:
        cluster: where they are.
        settings: the operator's.
    """

    cluster: Cluster
    settings: OperatorSettings
    _settled: dict[tuple[str, str], Settled] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def foreign(self, task: Task) -> str | None:
        """Return why a task's certificate cannot be kept where it belongs; None if it can."""
        if not config.signs_certificate(task, self.settings):
            return None
        held = self._held(task.metadata)
        if held is None or _is_of(held, task.metadata):
            return None
        name = config.certificate_name(task.metadata)
        problem = f"the secret {name} is there already, and is not this task's"
        return f"{problem}; delete it if nobody needs it, or create a task of another name"

    def ensure(self, task: Task, now: str) -> None:
        """Make the certificate of a task's aggregator where it is missing, wrong or near its end.

        Args:
            task: its spec and status say what devices call it.
            now: the time, as Kubernetes writes it.

        Raises:
            NotReadyError: while there is no authority that could sign it.
            ApiException: if the cluster refuses something, or is away.
        """
        if not config.signs_certificate(task, self.settings):
            return
        authority, moment = self._authority(), datetime.fromisoformat(now)
        wanted = Wanted(
            secret=config.certificate_name(task.metadata),
            name=SERVER,
            task=config.name_of(task, self.settings),
        )
        beside = self._beside(authority)
        digest = objects.digest([wanted.task, *(each.decode() for each in beside.values())])
        held = self._held(task.metadata)
        key = task.metadata.namespace, wanted.secret
        with self._lock:
            known = self._settled.get(key)
        if held is not None and _is_known(known, _version(held), digest, moment):
            return
        pair = self._pair(task, wanted, authority, moment, exists=held is not None)
        data = {CERTIFICATE: pair.certificate, KEY: pair.key, **beside}
        made = self.cluster.apply(secret(task, data))
        with self._lock:
            until = certificates.renewed_at(pair.certificate)
            self._settled[key] = Settled(_version(made), digest, until)

    def _pair(
        self, task: Task, wanted: Wanted, authority: Pair, now: datetime, *, exists: bool
    ) -> Pair:
        """Return the certificate that is there, if it is good, or else a new one."""
        found: dict[str, bytes] = {}
        if exists:
            text = self.cluster.secret_data(task.metadata.namespace, wanted.secret)
            found = {name: _decoded(each) for name, each in text.items()}
        if certificates.must_be_made(found or None, wanted, authority, now):
            return certificates.signed(wanted, authority, self.settings.certificate_days, now)
        return Pair(found[CERTIFICATE], found[KEY])

    def _held(self, meta: Meta) -> Object | None:
        """Return a task's secret as far as its metadata go; None if there is none."""
        name = config.certificate_name(meta)
        found = self.cluster.read_followed("Secret", meta.namespace, name)
        return self.cluster.secret(meta.namespace, name) if found is None else found

    def _beside(self, authority: Pair) -> dict[str, bytes]:
        """Return what is beside a certificate: who signs services, and who signs devices."""
        trusted = {AUTHORITY: authority.certificate}
        if self.settings.authority_url is not None:
            return trusted  # the aggregator asks there
        path = _folder(self.settings) / config.DEVICES
        return {**trusted, config.DEVICES: _read(path) if path.exists() else authority.certificate}

    def _authority(self) -> Pair:
        folder = _folder(self.settings)
        pair = Pair(_read(folder / CERTIFICATE), _read(folder / KEY))
        if not certificates.is_authority(pair):
            raise _unsigned(folder, "hold no authority, or the key of another one")
        return pair


def secret(task: Task, data: dict[str, bytes]) -> Manifest:
    """Return the secret with the certificate of a task's aggregator; it goes with the task."""
    text = {name: base64.b64encode(each).decode() for name, each in data.items()}
    metadata = {**manifests.metadata(task), "name": config.certificate_name(task.metadata)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": text,
    }


def _is_known(known: Settled | None, version: str, data: str, now: datetime) -> bool:
    """Return whether a secret is the one that was found to be good, and is still."""
    return (
        known is not None and (known.version, known.data) == (version, data) and now < known.until
    )


def _is_of(held: Object, task: Meta) -> bool:
    """Return whether an object belongs to a task: who else has made one has another owner."""
    owners = held["metadata"].get("ownerReferences") or []
    return any(each.get("uid") == task.uid for each in owners)


def _version(held: Object) -> str:
    return str(held["metadata"].get("resourceVersion"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _folder(settings: OperatorSettings) -> Path:
    assert settings.authority_folder is not None  # noqa: S101 - or nothing is signed
    return settings.authority_folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unsigned(path, f"cannot be read ({error.strerror})") from error


def _unsigned(place: Path, why: str) -> NotReadyError:
    problem = f"the operator has no authority to sign the aggregator's certificate: {place}"
    return NotReadyError(f"{problem} {why}; see its --authority-folder", "NoAuthority")
