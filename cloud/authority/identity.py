"""Whom a certificate names: a device of a task, or a service; and how the broker calls it.

A certificate's subject is `OU=task, CN=name`. The broker takes the whole subject, as RFC 4514
writes it, for the user's name and the client id: one identity has one connection, a device may be
in several tasks with a certificate for each, and no name of one can be read as another's.
"""

import re
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from edgeloop.errors import ConfigError
from edgeloop.protocol import wire
from edgeloop.protocol.admission import RESERVED

SERVICES = ("aggregator", "authority", "broker", "operator")
"""What the authority of services signs."""

_PREFIX = "edgeloop."


class Identity(NamedTuple):
    """A device, or a service.

    Attributes:
        task: whose rights it has; empty for a service of all tasks.
        name: within the task.
    """

    task: str
    name: str

    @property
    def subject(self) -> x509.Name:
        """The subject of its certificates."""
        unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, self.task)]
        name = x509.NameAttribute(NameOID.COMMON_NAME, self.name)
        return x509.Name([*(unit if self.task else []), name])

    @property
    def user(self) -> str:
        """What a broker calls it."""
        return f"CN={self.name},OU={self.task}" if self.task else f"CN={self.name}"

    def __str__(self) -> str:
        return f"{self.name} of {self.task}" if self.task else self.name


def of_certificate(certificate: x509.Certificate) -> Identity | None:
    """Return whom a certificate names; None if it is none of ours."""
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or len(units) > 1 or len(names + units) != len(list(certificate.subject)):
        return None
    return Identity(str(units[0].value) if units else "", str(names[0].value))


def check_name(field: str, name: str) -> None:
    """Refuse what no device may be called, since something else is.

    Raises:
        ConfigError: naming the field.
    """
    if not wire.NAME.fullmatch(name):
        problem = f"{name[:80]!r} is no name"
        remedy = "write 1 to 64 letters, digits, dots, dashes and underscores, a letter first"
        raise ConfigError(field, problem, remedy)
    if name.casefold() in RESERVED or name.casefold().startswith(_PREFIX):
        problem = f"{name} is the name of a service, or looks like one"
        raise ConfigError(field, problem, "choose another one for the device")


def check_task(field: str, task: str) -> None:
    """Refuse what is no task's name.

    Raises:
        ConfigError: naming the field.
    """
    if not re.fullmatch(wire.NAME, task):
        raise ConfigError(field, f"{task[:80]!r} is no task's name", "name a task")
