"""A FederatedTask as the aggregator's configuration file, and what of it may not change."""

import json
from typing import Any

import tomli_w

from cloud.operator import objects
from cloud.operator.settings import METRICS_PORT, OperatorSettings
from cloud.operator.spec import Broker, Meta, Password, Store, Task
from edgeloop.runtime.config import Signing

FOLDER = "/var/lib/edgeloop"
"""Where a task's volume is in the aggregator's container."""

TLS = "/etc/edgeloop/tls"
DEVICES = "devices.crt"
"""Of a secret for a broker: the authority that signs devices."""
DEVICES_FILE = f"{TLS}/{DEVICES}"
STORE = "/etc/edgeloop/store"
STORE_FILE = f"{STORE}/url"
PASSWORD = "/etc/edgeloop/broker"  # noqa: S105 - where it is
PASSWORD_FILE = f"{PASSWORD}/password"
TRACE = "/etc/edgeloop/trace"
TRACE_FILE = f"{TRACE}/headers"

CONNECT_SECONDS = 60.0
"""How long an aggregator tries its first connection: a broker may be starting beside it."""

_SERVERS = ("triton", "http", "https")

_WAY = ("path", "alpn", "proxy", "prefix", "client_id_prefix")
"""How a broker is reached, where that is not plain: the same words here, there and in the file."""

FROZEN = {  # key of the file -> field of the spec
    "name": "metadata.name",
    "algorithm": "algorithm.name",
    "variant": "algorithm.variant",
    "hyperparameters": "algorithm.hyperparameters",
    "class_names": "data.classNames",
    "shape": "data.shape",
    "width": "width",
    "rounds": "rounds",
    "batch_size": "batchSize",
    "seed": "seed",
    "shuffle": "shuffle",
    "store_file": "store",
    "privacy": "privacy",
}


_LONGEST_NAMESPACE = 23
"""Of a task's name among devices: with a dot and the name, 40 at most, it has 64."""


def name_of(task: Task, settings: OperatorSettings) -> str:
    """Return what devices, the broker and the database call a task, or have called it before.

    Two namespaces may share a broker and a database, and each have a task of one name. Neither a
    namespace nor a task has a dot in its name, so that no two tasks have one name here.
    """
    name, namespace = task.metadata.name, task.metadata.namespace
    known = task.status.get("task")
    if known is not None:
        return str(known)
    return f"{prefix(namespace, settings)}{name}"


def prefix(namespace: str, settings: OperatorSettings) -> str:
    """Return what the names of a namespace's tasks begin with: nothing where they are plain."""
    if settings.task_names == "plain":
        return ""
    if len(namespace) > _LONGEST_NAMESPACE:  # no namespace has an underscore
        short = namespace[: _LONGEST_NAMESPACE - 9]
        namespace = f"{short}_{objects.digest(namespace)[:8]}"
    return f"{namespace}."


def table(
    task: Task,
    settings: OperatorSettings,
    generator: str | None,
    store: Store | None,
    base: str | None = None,
) -> dict[str, Any]:
    """Return the aggregator's configuration.

    Args:
        task: as its user wrote it.
        settings: the operator's.
        generator: the reference that the task's generator stands for.
        store: the secret with the ledger's URL; None for SQLite on the task's volume.
        base: the reference that the task's base stands for.
    """
    spec = task.spec
    optional = {
        "generator": generator,
        "base": base,
        "store_file": STORE_FILE if store else None,
        "privacy": _privacy(task),
        "ingest": {"shared": True} if spec.ingest else None,
        "shuffle": spec.shuffle or None,  # off as before there was any: no pod is made again
    }
    return {
        "name": name_of(task, settings),
        "algorithm": spec.algorithm.name,
        "variant": spec.algorithm.variant,
        "class_names": list(spec.data.class_names),
        "shape": list(spec.data.shape),
        "width": spec.width,
        "rounds": spec.rounds,
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "history": spec.history,
        "folder": FOLDER,
        **{key: value for key, value in optional.items() if value is not None},
        "hyperparameters": {
            name: scalar(value) for name, value in spec.algorithm.hyperparameters.items()
        },
        "broker": {**_broker(broker(task, settings)), **_signing(task, settings)},
        **_authority(task, settings),
        "cohort": _cohort(task),
        "http": {"host": "0.0.0.0", "port": METRICS_PORT, "linger": True},  # noqa: S104 - a pod's own
        **_trace(settings),
    }


def signatures(task: Task, settings: OperatorSettings) -> Signing:
    """Return whether a task's messages are signed, and checked.

    The operator's word is for its own broker: at another one, who signs devices is the task's to
    say.
    """
    if task.spec.signatures is not None:
        return task.spec.signatures
    return settings.signatures if task.spec.broker is None else "off"


def signs_certificate(task: Task, settings: OperatorSettings) -> bool:
    """Return whether the operator makes the certificate of a task's aggregator."""
    own = task.spec.broker is None and settings.authority_folder is not None
    return own and signatures(task, settings) != "off"


def certificate_name(task: Meta) -> str:
    """Return the name of the secret with the certificate of a task's aggregator."""
    return f"{task.name}-aggregator-tls"


def _signing(task: Task, settings: OperatorSettings) -> dict[str, Any]:
    """Return the keys of the `[broker]` table that say who is believed."""
    asked = signatures(task, settings)
    if asked == "off":
        return {}
    known = {} if _asks(task, settings) else {"devices_file": DEVICES_FILE}
    return {"signatures": asked, **known}


def _authority(task: Task, settings: OperatorSettings) -> dict[str, Any]:
    return {"authority": settings.authority_url} if _asks(task, settings) else {}


def _asks(task: Task, settings: OperatorSettings) -> bool:
    """Return whether a task's aggregator asks the authority that devices enrol at."""
    return settings.authority_url is not None and signs_certificate(task, settings)


def _trace(settings: OperatorSettings) -> dict[str, Any]:
    if settings.trace_endpoint is None:
        return {}
    headers = {} if settings.trace_headers_secret is None else {"headers_file": TRACE_FILE}
    place = {"endpoint": settings.trace_endpoint, "sampling": settings.trace_sampling}
    return {"trace": {**place, **headers}}


def beginning(table: dict[str, Any]) -> str:
    """Return what a run has begun with and is held to, as TOML."""
    cohort = {key: table["cohort"][key] for key in ("devices", "admit") if key in table["cohort"]}
    kept = [key for key in (*FROZEN, "generator", "base") if key in table]
    return tomli_w.dumps({**{key: table[key] for key in kept}, "cohort": cohort})


def changed_frozen_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the spec's fields that differ in two tables and may not, once a run has begun.

    Rounds may be added.
    """
    changed = [
        field
        for key, field in FROZEN.items()
        if old.get(key) != new.get(key) and not (key == "rounds" and new[key] > old[key])
    ]
    for field in ("devices", "admit", "robust", "secure"):
        if old["cohort"].get(field) != new["cohort"].get(field):
            changed.append(f"cohort.{field}")
    for field in ("generator", "base"):
        if _named(old.get(field)) != _named(new.get(field)):
            changed.append(field)
    return changed


def _named(reference: str | None) -> str | None:
    """Return a reference without the server's address, which may change under a run."""
    scheme, found, place = (reference or "").partition("://")
    if not found or scheme not in _SERVERS:
        return reference
    return place.partition("/")[2]


def scalar(value: bool | int | float | str) -> bool | int | float | str:
    """Return a hyperparameter's value: fractions and booleans may be written as strings."""
    if not isinstance(value, str):
        return value
    try:
        meant = json.loads(value, parse_constant=_no_number)
    except ValueError:
        return value
    return meant if isinstance(meant, bool | int | float) else value


def _no_number(word: str) -> None:
    raise ValueError(word)


def broker(task: Task, settings: OperatorSettings) -> Broker:
    """Return the broker that a task uses."""
    if task.spec.broker is not None:
        return task.spec.broker
    secret, key = settings.broker_password_secret, settings.broker_password_key
    return Broker(
        host=settings.broker_host,
        port=settings.broker_port,
        secret_name=certificate_name(task.metadata)
        if signs_certificate(task, settings)
        else settings.broker_secret,
        client_certificates=settings.broker_client_certificates,
        username=settings.broker_username,
        password=None if secret is None else Password(secret_name=secret, key=key),
        transport=settings.broker_transport,
        **{name: getattr(settings, f"broker_{name}") for name in _WAY},
    )


def store(task: Task, settings: OperatorSettings, held: dict[str, Any] | None) -> Store | None:
    """Return the secret with the URL of a task's ledger; None for SQLite on its volume.

    A run that has begun on its volume stays there, whatever the operator is told later.
    """
    if task.spec.store is not None:
        return task.spec.store
    if settings.database_secret is None or (held is not None and "store_file" not in held):
        return None
    return Store(secret_name=settings.database_secret, key=settings.database_key)


def _broker(chosen: Broker) -> dict[str, Any]:
    files = {"ca_file": "ca.crt"}
    if chosen.client_certificates:
        files |= {"certificate_file": "tls.crt", "key_file": "tls.key"}
    websockets = chosen.transport == "websockets"
    optional = {
        "transport": chosen.transport if websockets else None,
        "path": chosen.path if websockets else None,
        **{name: getattr(chosen, name) or None for name in _WAY if name != "path"},
        "username": chosen.username,
        "password_file": None if chosen.password is None else PASSWORD_FILE,
        **({key: f"{TLS}/{name}" for key, name in files.items()} if chosen.secret_name else {}),
    }
    place = {"host": chosen.host, "port": chosen.port, "connect_seconds": CONNECT_SECONDS}
    return {**place, **{key: value for key, value in optional.items() if value is not None}}


def _privacy(task: Task) -> dict[str, float] | None:
    asked = task.spec.privacy
    if asked is None:
        return None
    return {key: float(value) for key, value in asked.model_dump(exclude_none=True).items()}


def _cohort(task: Task) -> dict[str, Any]:
    cohort = task.spec.cohort
    share = cohort.quorum_percent
    optional = {
        "evicted": list(cohort.evicted) or None,
        "forgotten": list(cohort.forgotten) or None,
        "admit": list(cohort.admit) or None,
        "max_devices": cohort.max_devices,
        "quorum": cohort.quorum if share is None else f"{share}%",
        "sample": None if cohort.sample_percent is None else f"{cohort.sample_percent}%",
        "buffer": cohort.buffer,
        "max_staleness": cohort.max_staleness,
        "max_messages_per_minute": cohort.max_messages_per_minute,
        "max_megabytes_per_minute": cohort.max_megabytes_per_minute,
        "outliers": None if cohort.outliers == "log" else cohort.outliers,
        "robust": None if cohort.robust == "auto" else cohort.robust,
        "secure": cohort.secure or None,
        "step_seconds": float(cohort.step_seconds) if cohort.secure else None,
    }
    return {
        "devices": list(cohort.devices),
        **{key: value for key, value in optional.items() if value is not None},
        "grace_seconds": float(cohort.grace_seconds),
        "deadline_seconds": float(cohort.deadline_seconds),
        "give_up_seconds": float(cohort.give_up_seconds),
    }
