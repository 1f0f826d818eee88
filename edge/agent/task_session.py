"""What a device brings to a task, and its place in it."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from edge.agent.base_store import BaseCache
from edge.agent.patience import until_written
from edge.agent.privacy_ledger import PrivacyLedger
from edge.agent.settings import DeviceSettings, PolicySettings
from edge.agent.task_client import TaskClient, check, make_task_client
from edgeloop.answers import Answer, Release
from edgeloop.client_protocol import ClientProtocol
from edgeloop.data import DeviceData, DeviceSamples
from edgeloop.errors import ConfigError, DataError, EdgeloopError, MisfitError
from edgeloop.privacy import accounting
from edgeloop.privacy.secret import NoiseSecret
from edgeloop.protocol.task import Contract
from edgeloop.runtime import modules
from edgeloop.runtime.config import PrivacySettings

log = logging.getLogger(__name__)

EMPTIED = "put samples there, or run `edgeloop agent --leave` to have the old ones taken out"
"""What to do about data that are gone."""


@dataclass(frozen=True)
class TaskSession:
    """A device's place in one run: everything that the contract decides.

    Attributes:
        contract: of the run.
        task_client: what it trains, and with what.
        share: the data.
        privacy: what it may spend, and has; None where the task has no privacy.
    """

    contract: Contract
    task_client: TaskClient
    share: DeviceSamples
    privacy: "PrivacyBudget | None" = None

    @property
    def client(self) -> ClientProtocol[Any, Any]:
        """What answers the rounds."""
        return self.task_client.client

    def answer(self, number: int, broadcast: Any, may_train: bool = True) -> Answer[Any]:
        """Answer a round; without training where it may not, or that would cost too much."""
        if not may_train:
            log.info("round %d: the battery is low: this device only evaluates", number)
            return self.client.answer(number, broadcast, False)
        release = self.client.release(number, broadcast)
        trains = self.privacy is None or release is None or self.privacy.spend(release)
        if not trains:
            log.info("round %d: the privacy budget is spent: this device only evaluates", number)
        return self._with_loss(self.client.answer(number, broadcast, trains))

    def _with_loss(self, answer: Answer[Any]) -> Answer[Any]:
        """Return an answer whose report tells the training loss, where the task may know it.

        A client with privacy has none to tell; what goes into sums is nobody's to see, and a loss
        would be each device's own.
        """
        if answer.upload is None or self.contract.secure:
            return answer
        loss = getattr(self.client, "training_loss", None)  # of networks
        return replace(answer, report=answer.report.with_train_loss(loss))


@dataclass(frozen=True)
class PrivacyBudget:
    """The device's spending, in a task's terms.

    Attributes:
        ledger: of the device.
        privacy: of the task.
        limit: the lower of the task's and the device's own; None for no end.
    """

    ledger: PrivacyLedger
    privacy: PrivacySettings
    limit: float | None

    @property
    def epsilon(self) -> float:
        """What all answers of the device have spent."""
        return accounting.epsilon(self.ledger.events, self.privacy.delta)

    def spend(self, release: Release) -> bool:
        """Pay for a release, if there is enough left."""
        spend = partial(self.ledger.spend, release, self.privacy.delta, self.limit)
        return until_written(spend)


@dataclass
class DeviceContext:
    """What the device brings along, whatever the task; a reload replaces its settings."""

    settings: DeviceSettings
    data: DeviceData

    @property
    def base_cache(self) -> BaseCache:
        """Where its bases are."""
        return BaseCache(self.settings.folder)


def load_context(settings: DeviceSettings) -> DeviceContext:
    """Read the device's data, as far as no task is needed for that; check what it trains with.

    Raises:
        ConfigError: if there is no such processor here, or the data's settings do not fit it.
        DataError: if it cannot be read.
        ModelError: if there is no such model.
    """
    check(settings)
    return DeviceContext(settings, DeviceData(settings.data.selection()))


def open_session(context: DeviceContext, contract: Contract) -> TaskSession:
    """Make the device's client as the contract says.

    Raises:
        ConfigError: if the task needs devices of one architecture, and this one has another; or
            torch, or opacus, and there is none; or its privacy is not what this device wants.
        DataError: if the device's data cannot be read.
        MisfitError: if it is not invited, or its data is not what the task is about.
        ModelError: if the device's model does not fit the data, or cannot be private.
        RunError: if nobody can tell what the device has spent, or its folder cannot be written.
    """
    _check(context, contract)
    share = context.data.samples_for(contract.class_names, contract.shape)
    budget = _privacy_budget(context, contract)
    made = make_task_client(
        contract, context.settings, share, _secret(budget, contract), context.base_cache
    )
    if budget is not None:
        accounting.check()
    if contract.secure:
        _check_secure(contract, made)
    return TaskSession(contract, made, share, budget)


def adds_rounds(text: bytes, session: TaskSession | None) -> bool:
    """Return whether a contract, as JSON, is a session's with more rounds."""
    if session is None:
        return False
    try:
        contract = Contract.model_validate_json(text)
    except ValidationError:
        return False
    return contract.run == session.contract.run and contract.rounds > session.contract.rounds


def renewed(own: DeviceContext, session: TaskSession) -> TaskSession:
    """Return a seat with the device's data as they are now, where its half can use that.

    Data that cannot be read, do not fit, or have no training sample any more are logged, and
    the device continues with those from before.
    """
    if not session.task_client.grows:
        return session
    contract = session.contract
    try:
        if not own.data.anew(session.task_client.keeps_split):
            return session
        share = own.data.samples_for(contract.class_names, contract.shape)
        if not len(share.data.train) and len(session.share.data.train):
            raise DataError("data.source", "has no training sample any more", EMPTIED)
        secret = _secret(session.privacy, contract)
        made = make_task_client(contract, own.settings, share, secret, own.base_cache, again=True)
    except EdgeloopError as error:
        log.warning(
            "the data have changed and cannot be used: %s; the earlier samples are still used",
            error,
        )
        return session
    made.client.restore(session.client.weights())
    before, now = len(session.share.data.train), len(share.data.train)
    log.info("the data have changed: %d training samples, %d before", now, before)
    return replace(session, task_client=made, share=share)


def _privacy_budget(context: DeviceContext, contract: Contract) -> PrivacyBudget | None:
    asked, policy = contract.privacy, context.settings.privacy
    if asked is None:
        if policy.is_required:
            problem = f"this device wants it, and {contract.task} has none"
            raise ConfigError("privacy", problem, "give the task a [privacy] table")
        return None
    _check_policy(asked, policy)
    limits = [each for each in (asked.epsilon, policy.max_epsilon) if each is not None]
    ledger = until_written(partial(PrivacyLedger, context.settings.folder))
    budget = PrivacyBudget(ledger, asked, min(limits, default=None))
    log.info("privacy: epsilon %.3f is spent, of %s", budget.epsilon, budget.limit or "any")
    return budget


def _check_policy(asked: PrivacySettings, policy: PolicySettings) -> None:
    if asked.delta > policy.max_delta:
        problem = f"the task's delta is {asked.delta}, this device allows {policy.max_delta}"
        raise ConfigError("privacy.max_delta", problem, "lower the task's, or raise this")


def _secret(budget: PrivacyBudget | None, contract: Contract) -> NoiseSecret | None:
    """Return what the noise of one run is made from."""
    if budget is None:
        return None
    return NoiseSecret(budget.privacy, budget.ledger.key(contract.learned()))


def _check_secure(contract: Contract, made: TaskClient) -> None:
    """Refuse sums that this device cannot take part in.

    Raises:
        ConfigError: if cryptography is not installed.
        MisfitError: if the algorithm's uploads cannot be added.
    """
    if made.summing is None:
        problem = f"{contract.task} asks for sums, and {contract.algorithm} needs single uploads"
        raise MisfitError("secure", problem, "leave secure out of the task")
    if modules.find("cryptography") is None:
        problem = "the task adds uploads in secret, and cryptography is not installed"
        raise ConfigError("secure", problem, "pip install 'edgeloop[edge-lite]'")


def _check(context: DeviceContext, contract: Contract) -> None:
    name, task = context.settings.name, context.settings.task
    if contract.task != task:
        problem = f"{task}, and the contract that came there is of {contract.task}"
        raise MisfitError("task", problem, "have each task's messages on its own topics")
    if contract.signatures == "required" and context.settings.broker.signing == "off":
        problem = f"{contract.task} takes signed answers only, and this device signs nothing"
        remedy = "enrol it (edgeloop enroll), or give its certificate and signatures in [broker]"
        raise MisfitError("signatures", problem, remedy)
    if name in contract.excluded:
        problem = f"{name} was taken out of {contract.task}, or evicted"
        raise MisfitError("name", problem, "wait for the task's next run")
    if not contract.admits(name):
        problem = f"{name} is not invited to {contract.task}"
        remedy = "add it to the task's devices, or admit its name; one that has left this run, or"
        raise MisfitError("name", problem, f"{remedy} was sent away, waits for the next one")
