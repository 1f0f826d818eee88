"""What a device brings to a task, and its place in it."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from edge.agent.half import Half, check, half
from edge.agent.privacy_ledger import Spending
from edge.agent.settings import DeviceSettings, PolicySettings
from edge.agent.shelf import Shelf
from edgeloop.answers import Answer, Release
from edgeloop.client_half import ClientHalf
from edgeloop.data import Brought, Share
from edgeloop.errors import ConfigError, DataError, InputError, MisfitError
from edgeloop.privacy import accounting
from edgeloop.privacy.secret import Secret
from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import PrivacySettings

log = logging.getLogger(__name__)

EMPTIED = "put samples there, or run `edgeloop agent --leave` to have the old ones taken out"
"""What to do about data that are gone."""


@dataclass(frozen=True)
class Seat:
    """A device's place in one run: everything that the contract decides.

    Attributes:
        contract: the run's.
        half: what it trains, and with what.
        share: the data.
        privacy: what it may spend, and has; None where the task has no privacy.
    """

    contract: Contract
    half: Half
    share: Share
    privacy: "Purse | None" = None

    @property
    def member(self) -> ClientHalf[Any, Any]:
        """What answers the rounds."""
        return self.half.member

    def answer(self, number: int, broadcast: Any) -> Answer[Any]:
        """Answer a round; without training where that would cost more than is left."""
        release = self.member.release(number, broadcast)
        trains = self.privacy is None or release is None or self.privacy.pay(release)
        if not trains:
            log.info("round %d: the privacy budget is spent: evaluates only", number)
        return self.member.answer(number, broadcast, trains)


@dataclass(frozen=True)
class Purse:
    """The device's spending, in a task's terms.

    Attributes:
        spending: the device's.
        asked: the task's.
        budget: the lower of the task's and the device's own; None for no end.
    """

    spending: Spending
    asked: PrivacySettings
    budget: float | None

    @property
    def epsilon(self) -> float:
        """What all answers of the device have spent."""
        return self.spending.epsilon(self.asked.delta)

    def pay(self, release: Release) -> bool:
        """Pay for a release, if there is enough left."""
        return self.spending.pay(release, self.asked.delta, self.budget)


@dataclass(frozen=True)
class Own:
    """What the device brings along, whatever the task."""

    settings: DeviceSettings
    data: Brought

    @property
    def shelf(self) -> Shelf:
        """Where its bases are."""
        return Shelf(self.settings.folder)


def own(settings: DeviceSettings) -> Own:
    """Read the device's data, as far as no task is needed for that; check what it trains with.

    Raises:
        ConfigError: if there is no such processor here, or the data's settings do not fit it.
        DataError: if it cannot be read.
        ModelError: if there is no such model.
    """
    check(settings)
    return Own(settings, Brought(settings.data.chosen()))


def seat(own: Own, contract: Contract) -> Seat:
    """Make the device's half as the contract says.

    Raises:
        ConfigError: if the task needs devices of one architecture, and this one has another; or
            torch, or opacus, and there is none; or its privacy is not what this device wants.
        DataError: if the device's data cannot be read.
        MisfitError: if it is not invited, or its data is not what the task is about.
        ModelError: if the device's model does not fit the data, or cannot be private.
        RunError: if nobody can tell what the device has spent, or its folder cannot be written.
    """
    _check(own, contract)
    share = own.data.share(contract.class_names, contract.shape)
    purse = _purse(own, contract)
    made = half(contract, own.settings, share, _secret(purse, contract), own.shelf)
    if purse is not None:
        accounting.check()
    return Seat(contract, made, share, purse)


def renewed(own: Own, seat: Seat) -> Seat:
    """Return a seat with the device's data as they are now, where its half can use that.

    Data that cannot be read, do not fit, or have no training sample any more are told of, and
    the device goes on with those from before.
    """
    if not seat.half.grows:
        return seat
    contract = seat.contract
    try:
        if not own.data.anew():
            return seat
        share = own.data.share(contract.class_names, contract.shape)
        if not len(share.data.train) and len(seat.share.data.train):
            raise DataError("data.source", "has no training sample any more", EMPTIED)
        made = half(contract, own.settings, share, None, own.shelf)
    except InputError as error:
        log.warning("the data have changed, and cannot be used: %s; those from before count", error)
        return seat
    made.member.restore(seat.member.weights())
    before, now = len(seat.share.data.train), len(share.data.train)
    log.info("the data have changed: %d training samples, %d before", now, before)
    return replace(seat, half=made, share=share)


def _purse(own: Own, contract: Contract) -> Purse | None:
    asked, policy = contract.privacy, own.settings.privacy
    if asked is None:
        if policy.needed:
            problem = f"this device wants it, and {contract.task} has none"
            raise ConfigError("privacy", problem, "give the task a [privacy] table")
        return None
    _check_policy(asked, policy)
    limits = [each for each in (asked.epsilon, policy.max_epsilon) if each is not None]
    purse = Purse(Spending(own.settings.folder), asked, min(limits, default=None))
    log.info("privacy: epsilon %.3f is spent, of %s", purse.epsilon, purse.budget or "any")
    return purse


def _check_policy(asked: PrivacySettings, policy: PolicySettings) -> None:
    if asked.delta > policy.max_delta:
        problem = f"the task's delta is {asked.delta}, this device allows {policy.max_delta}"
        raise ConfigError("privacy.max_delta", problem, "lower the task's, or raise this")


def _secret(purse: Purse | None, contract: Contract) -> Secret | None:
    """Return what the noise of one run is made from."""
    return None if purse is None else Secret(purse.asked, purse.spending.key(contract.text()))


def _check(own: Own, contract: Contract) -> None:
    name, task = own.settings.name, own.settings.task
    if contract.task != task:
        problem = f"{task}, and the contract that came there is of {contract.task}"
        raise MisfitError("task", problem, "have each task's messages on its own topics")
    if name not in contract.devices:
        raise MisfitError(
            "name", f"{name} is not invited to {contract.task}", "add it to the task's devices"
        )
