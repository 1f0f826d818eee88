"""A whole round of secure aggregation in one process, for simulations and tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeloop.secure import ring
from edgeloop.secure.agreement import Agreement
from edgeloop.secure.collector import Collector
from edgeloop.secure.device import SecureDevice
from edgeloop.secure.messages import Masked
from edgeloop.secure.ring import Floats
from edgeloop.secure.shamir import Draw

Step = Literal["share", "masked", "reveal"]
"""Before which a device may vanish."""

STEPS: tuple[Step, ...] = ("share", "masked", "reveal")


@dataclass(frozen=True)
class Summed:
    """A round's result, and what the server saw on its way.

    Attributes:
        total_V: the sum.
        names: whose numbers are in it.
        masked: what each of them sent.
    """

    total_V: Floats
    names: frozenset[str]
    masked: Mapping[str, Masked] = field(default_factory=dict)


def add_in_secret(
    agreement: Agreement,
    values: Mapping[str, Floats],
    draws: Callable[[str], Draw],
    vanish: Mapping[str, Step] | None = None,
) -> Summed:
    """Add vectors as a server and its devices would.

    Args:
        agreement: the round's facts.
        values: by device.
        draws: each device's random bytes.
        vanish: which devices do not answer any more from which step on.

    Raises:
        SecureError: if too few are left at a step.
        ValueError: if a vector's numbers are too large.
    """
    gone = vanish or {}

    def there(name: str, step: Step) -> bool:
        return name not in gone or STEPS.index(step) < STEPS.index(gone[name])

    devices = {name: SecureDevice(name, agreement, draws(name)) for name in sorted(values)}
    server = Collector(agreement)
    keys = server.begin({name: each.public_keys() for name, each in devices.items()})
    shares = server.pass_on(
        {name: each.share(keys) for name, each in devices.items() if there(name, "share")}
    )
    sent = {
        name: devices[name].masked(ring.encode(values[name], agreement.devices), given)
        for name, given in shares.items()
        if there(name, "masked")
    }
    survivors = server.collect(sent)
    told = {
        name: devices[name].reveal(survivors) for name in sorted(survivors) if there(name, "reveal")
    }
    return Summed(ring.decode(server.total(told)), survivors, sent)
