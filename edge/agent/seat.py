"""What a device brings to a task, and its place in it."""

import logging
from dataclasses import dataclass
from typing import Any

from edge.agent.settings import DeviceSettings, PolicySettings
from edge.agent.spending import Spending
from edgeloop import algorithms, models
from edgeloop.algorithm import Algorithm
from edgeloop.compute import Compute, usable_device
from edgeloop.data import Brought, Share
from edgeloop.errors import ConfigError, MisfitError
from edgeloop.member import Answer, Member, Release
from edgeloop.private import Secret
from edgeloop.settings import PrivacySettings
from edgeloop.task import Contract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seat:
    """A device's place in one run: everything that the contract decides.

    Attributes:
        contract: the run's.
        algorithm: the contract's.
        member: its model and data.
        share: the data.
        privacy: what it may spend, and has; None where the task has no privacy.
    """

    contract: Contract
    algorithm: Algorithm[Any, Any, Any]
    member: Member[Any, Any]
    share: Share
    privacy: "Purse | None" = None

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


def own(settings: DeviceSettings) -> Own:
    """Read the device's data, as far as no task is needed for that; check what it trains with.

    Raises:
        ConfigError: if there is no such processor here, or the data's settings do not fit it.
        DataError: if it cannot be read.
        ModelError: if there is no such model.
    """
    usable_device(settings.training.device)
    models.missing(settings.training.architecture)
    return Own(settings, Brought(settings.data.chosen()))


def seat(own: Own, contract: Contract) -> Seat:
    """Make the device's model and algorithm as the contract says.

    Raises:
        ConfigError: if the task needs devices of one architecture, and this one has another; or
            its privacy is not what this device wants.
        DataError: if the device's data cannot be read.
        MisfitError: if it is not invited, or its data is not what the task is about.
        ModelError: if the device's model does not fit the data, or cannot be private.
        RunError: if nobody can tell what the device has spent, or its folder cannot be written.
    """
    _check(own, contract)
    share = own.data.share(contract.class_names, contract.shape)
    purse = _purse(own, contract)
    algorithm = algorithms.agreed(contract)
    training = own.settings.training
    options = algorithms.agreed_options(contract)
    algorithms.check_alike(contract.algorithm, [training.architecture.lower()], **options)
    model = models.build(
        training.architecture,
        contract.shape,
        len(contract.class_names),
        contract.width,
        contract.seed,
    )
    member = Member(
        own.settings.name,
        algorithm,
        model,
        share.data,
        batch_size=contract.batch_size,
        seed=contract.seed,
        shuffle=contract.shuffle,
        compute=Compute(training.device),
        secret=_secret(purse, contract),
    )
    log.info("computes with %d threads", member.choose_threads(training.threads))
    _tell_of_batches(len(share.data.train), contract.batch_size)
    return Seat(contract, algorithm, member, share, purse)


def _tell_of_batches(samples: int, batch_size: int) -> None:
    if samples < batch_size:
        told = "%d training samples make no batch of %d: this device only evaluates"
        log.warning(told, samples, batch_size)


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
    name = own.settings.name
    if name not in contract.devices:
        raise MisfitError(
            "name", f"{name} is not invited to {contract.task}", "add it to the task's devices"
        )
