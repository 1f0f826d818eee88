"""Who may read and write which topics at a broker: of those alone who are admitted."""

from collections.abc import Iterable, Iterator

from cloud.authority.identity import Identity
from edgeloop.protocol.rollout import applied_topic, desired_topic, shipped_topic
from edgeloop.protocol.signatures import OPERATOR as OPERATOR
from edgeloop.protocol.task import (
    ROOT,
    SERVER,
    broadcast_topic,
    contract_topic,
    predict_topic,
    predicted_topic,
    presence_topic,
    receipt_topic,
    round_topic,
    server_topic,
    upload_topic,
)

SERVER_OF_DEVICE = ".predict"
"""Behind a device's name: who answers with its classifier, beside its agent, and may do no more."""


def mosquitto_acl(
    devices: Iterable[Identity],
    services: Iterable[Identity],
    prefix: str = "",
    trusted: Iterable[str] = (),
) -> str:
    """Return Mosquitto's file of rights (`acl_file`): who is not in it may do nothing.

    Args:
        devices: who is admitted.
        services: of them aggregators and operators have rights.
        prefix: before all topics.
        trusted: further users, as the broker calls them, who may read and write all.
    """
    lines = ["# Written by edgeloop; changes are lost."]
    for user in sorted(trusted):
        lines += [f"user {user}", f"topic readwrite {prefix}{ROOT}/#"]
    for identity in sorted(services):
        lines += _entry(identity, _of_service(identity), prefix)
    for identity in sorted(devices):
        lines += _entry(identity, _of_device(identity), prefix)
    return "\n".join([*lines, ""])


def emqx_rules(devices: Iterable[Identity], services: Iterable[Identity], prefix: str = "") -> str:
    """Return EMQX's file of rights (`acl.conf`), of users that are called as in Mosquitto's."""
    lines = ["%% Written by edgeloop; changes are lost."]
    actions = {"read": "subscribe", "write": "publish", "readwrite": "all"}
    for identities, rights in ((services, _of_service), (devices, _of_device)):
        for identity in sorted(identities):
            for right, topic in rights(identity):
                what = f'{{user, "{identity.user}"}}, {actions[right]}, ["{prefix}{topic}"]'
                lines.append(f"{{allow, {what}}}.")
    return "\n".join([*lines, "{deny, all}.", ""])


def _entry(identity: Identity, rights: Iterable[tuple[str, str]], prefix: str) -> list[str]:
    topics = [f"topic {right} {prefix}{topic}" for right, topic in rights]
    return [f"user {identity.user}", *topics] if topics else []


def _of_device(identity: Identity) -> Iterator[tuple[str, str]]:
    task, name = identity
    device = name.removesuffix(SERVER_OF_DEVICE)
    yield "read", predict_topic(task, device)
    yield "write", f"{predicted_topic(task, device)}/#"
    yield "read", server_topic(task, device)
    if device != name:
        return
    for topic in (contract_topic(task), round_topic(task), broadcast_topic(task, "#")):
        yield "read", topic
    yield "read", receipt_topic(task, name)
    yield "read", desired_topic(task, name, "+")
    yield "read", shipped_topic(task, "#")
    yield "write", applied_topic(task, name, "+")
    yield "write", upload_topic(task, name)
    yield "readwrite", presence_topic(task, name)


def _of_service(identity: Identity) -> Iterator[tuple[str, str]]:
    if identity.name in (SERVER, OPERATOR):
        yield "readwrite", f"{ROOT}/{identity.task}/#" if identity.task else f"{ROOT}/#"
