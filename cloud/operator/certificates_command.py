"""Makes a release's certificates and renews them, as a job in the cluster: helm has none."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from pydantic import ValidationError

from cloud.http.new_tokens import new_token
from cloud.operator import certificates, cluster
from cloud.operator.certificates import AUTHORITY, CERTIFICATE, KEY, Pair, Release, Wanted
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.runtime import logs, wording

log = logging.getLogger(__name__)

DEVICE = "edgeloop.io/device"
"""Label of a secret: the device whose certificate it has."""

KEPT = {"helm.sh/resource-policy": "keep"}
"""Annotation of what helm leaves alone."""

_LONGEST_LABEL = 63
_MISSING = 404


def make(
    file: Annotated[Path, typer.Option(help="What is wanted, as the chart writes it: JSON.")],
    namespace: Annotated[str, typer.Option(help="Namespace of the secrets.")],
) -> None:
    """Make the certificates of a release that are missing, wrong or near their end."""
    logs.configure("plain", logging.INFO)
    release = read(file)
    cluster.configure()
    secrets = Secrets(client.CoreV1Api(), namespace, release.labels)
    try:
        made = bring_about(release, secrets, datetime.now(UTC))
    except ApiException as error:
        told = cluster.error_message(error)
        remedy = "give the job's service account its rights"
        raise UnavailableError("cluster", told, remedy) from error
    log.info("%d of %d certificates made", len(made), len(release.certificates))


def read(path: Path) -> Release:
    """Return what is wanted.

    Raises:
        ConfigError: if the file cannot be read, or is none.
    """
    try:
        return Release.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError("file", f"{path}: {error.strerror}", "name the chart's") from error
    except ValidationError as error:
        problem = wording.first_problem(error.errors())
        raise ConfigError("file", f"{path}: {problem}", "let helm write it") from error


@dataclass(frozen=True)
class Secrets:
    """The secrets of a namespace, as far as certificates are in them.

    Attributes:
        api: of the cluster.
        namespace: theirs.
        labels: of each.
    """

    api: client.CoreV1Api
    namespace: str
    labels: Mapping[str, str]

    def get(self, name: str) -> dict[str, bytes] | None:
        """Return what a secret holds; None if there is none."""
        try:
            found = self.api.read_namespaced_secret(name, self.namespace)
        except ApiException as error:
            if error.status == _MISSING:
                return None
            raise
        if found.metadata is None or KEPT.items() - (found.metadata.annotations or {}).items():
            # A release before had helm make it: without this, helm would take it away now.
            kept = {"metadata": {"annotations": KEPT}}
            self.api.patch_namespaced_secret(name, self.namespace, kept)
        return {key: base64.b64decode(each) for key, each in (found.data or {}).items()}

    def put(
        self,
        name: str,
        data: Mapping[str, bytes],
        device: str | None,
        *,
        new: bool,
        kind: str = "kubernetes.io/tls",
    ) -> None:
        """Write a secret."""
        text: dict[str, bytes | str] = {
            key: base64.b64encode(each).decode() for key, each in data.items()
        }
        labels = dict(self.labels)
        if device is not None and len(device) <= _LONGEST_LABEL:
            labels[DEVICE] = device
        body = client.V1Secret(
            metadata=client.V1ObjectMeta(name=name, labels=labels, annotations=KEPT),
            type=kind,
            data=text,
        )
        if new:
            self.api.create_namespaced_secret(self.namespace, body)
        else:
            self.api.patch_namespaced_secret(name, self.namespace, body)


def bring_about(release: Release, secrets: Secrets, now: datetime) -> list[str]:
    """Make what is missing, wrong or near its end; return the names of the secrets.

    Args:
        release: what is wanted.
        secrets: where it is kept.
        now: the time.
    """
    authority = _authority(release.authority, secrets, now)
    if release.devices is not None:
        _authority(release.devices, secrets, now)
    if release.access is not None:
        _access(release.access, secrets)
    made = []
    for wanted in release.certificates:
        held = secrets.get(wanted.secret)
        if certificates.must_be_made(held, wanted, authority, now):
            pair = certificates.signed(wanted, authority, release.days, now)
            data = {**_data(pair), AUTHORITY: authority.certificate}
            secrets.put(wanted.secret, data, _device(wanted), new=held is None)
            made.append(wanted.secret)
    return made


def _authority(name: str, secrets: Secrets, now: datetime) -> Pair:
    """Return the authority; it is made once, for devices trust it."""
    held = secrets.get(name)
    if held is not None:
        return Pair(held[CERTIFICATE], held[KEY])
    made = certificates.new_authority(name, now)
    secrets.put(name, _data(made), None, new=True)
    return made


def _access(name: str, secrets: Secrets) -> None:
    """Make tokens for HTTP, once: a viewer's for the broker, an operator's for people."""
    if secrets.get(name) is None:
        secrets.put(name, new_tokens(), None, new=True, kind="Opaque")


def new_tokens() -> dict[str, bytes]:
    """Return a secret's keys: `viewer.token`, `operator.token`, and the file that knows both."""
    made = {who: new_token() for who in ("viewer", "operator")}
    lines = "".join(f"{who} {who} {digest}\n" for who, (_, digest) in made.items())
    return {f"{who}.token": text.encode() for who, (text, _) in made.items()} | {
        "tokens": lines.encode()
    }


def _data(pair: Pair) -> dict[str, bytes]:
    return {CERTIFICATE: pair.certificate, KEY: pair.key}


def _device(wanted: Wanted) -> str | None:
    return None if wanted.hosts or wanted.addresses else wanted.name
