"""Keeps a device's classifier in use up to date: made anew after rounds, checked, watched.

After a round a candidate is exported and checked against what it was made from. It is put into use
where the device's own test samples do not call it worse than the one in use beyond chance. A canary
then watches the one in use, and goes back to the one before where that is the better one.
"""

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge.agent import canary, predict
from edge.agent.canary import RecentSamples
from edge.agent.companions import Companions
from edge.agent.deployment import ASKED, Deployment, named
from edge.agent.outcome import file_facts
from edge.agent.presence import PresenceTeller
from edge.agent.store import AgentState, AgentStore
from edge.agent.task_client import NoKnowledgeError
from edge.agent.task_session import DeviceContext, TaskSession
from edgeloop.data import DeviceSamples, Samples
from edgeloop.errors import EdgeloopError, ModelError
from edgeloop.mixing import experts
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

FAILURES = (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What an export can raise of a model that has become odd, or a disk that is full."""

BY_HAND = "somebody asked for it"


class CurrentModel:
    """The classifier in use of one device.

    Args:
        context: its settings.
        store: its memory.
        presence: says what has become of it.
    """

    def __init__(self, context: DeviceContext, store: AgentStore, presence: PresenceTeller) -> None:
        self._context, self._store, self._presence = context, store, presence
        self.deployment = Deployment(context.settings.folder)
        self._recent, self._seen = RecentSamples(), (0, 0, 0)
        self._share: DeviceSamples | None = None

    def after_round(self, session: TaskSession, state: AgentState, broadcast: Any) -> None:
        """Look at the classifier in use, and make a new one where the settings ask for it.

        Whatever goes wrong is logged, and the one in use stays.

        Args:
            session: the device's place in the run.
            state: after a round's answer.
            broadcast: that the round began with.
        """
        self._share = session.share
        every = self._context.settings.model.every_rounds
        try:
            self._watch()
            if every and not state.round % every and state.round < session.contract.rounds:
                self._renew(session, state, broadcast)
        except (EdgeloopError, *FAILURES) as error:
            log.warning("round %d: the classifier stays as it is: %s", state.round, error)

    def put_shipped(self, content: bytes, share: DeviceSamples | None) -> None:
        """Put a classifier that came from afar into use, if this device's samples let it.

        Args:
            content: of its file.
            share: the samples; None before there is a task that says how they are read.

        Raises:
            ModelError: why it is refused; the one in use stays.
            OSError: if the folder cannot be written.
        """
        deployment = self.deployment
        self._share = share or self._share
        atomic_files.write(deployment.candidate, content)
        try:
            why = self._unfit(share)
        except ModelError as error:
            why = error.problem
        if why:
            deployment.refuse(why)
            raise ModelError("model", why, "ship another one")
        deployment.put(deployment.candidate, "it was rolled out")
        if share is not None:
            self._recent.remember(share)
        self._presence.note("")
        self._finish()

    def take_out(self, why: str) -> bool:
        """Go back to the classifier before the one in use; tell whether there is one."""
        if not self.deployment.roll_back(why):
            return False
        log.warning("the classifier in use was taken out of use: %s", why)
        self._finish()
        return True

    def _unfit(self, share: DeviceSamples | None) -> str:
        """Return why the candidate, which came from afar, is not to be used; empty if it may be."""
        candidate = predict.open_model(self.deployment.candidate)
        scores = candidate.scores(np.zeros((1, *candidate.shape), np.float32))
        if not experts.are_usable(scores.astype(np.float64)):
            return "gives scores that are no numbers"
        if self.deployment.model.exists():
            with suppress(ModelError):  # anything is better
                model = predict.open_model(self.deployment.model)
                if not canary.alike(candidate, model):
                    return "classifies other inputs, or into other classes, than the one in use"
        return "" if share is None else self._worse(share)

    def look(self) -> None:
        """See whether the file in use has changed, or somebody has asked to go back."""
        try:
            if (self.deployment.folder / ASKED).exists():
                self._roll_back(BY_HAND)
                (self.deployment.folder / ASKED).unlink()
            if (found := _trace(self.deployment.model)) != self._seen:
                self._seen = found
                if problem := self.deployment.settle():
                    self._roll_back(f"model.onnx {problem}")
        except OSError as error:
            log.warning("the classifier in use cannot be looked at: %s", error)

    def _watch(self) -> None:
        """Take the classifier in use out of use, if it is a bad one."""
        if problem := self.deployment.settle():
            self._roll_back(f"model.onnx {problem}")
        if self._share is None or not self.deployment.model.exists():
            return
        recent = self._recent.of(self._share)
        if why := canary.fault(self.deployment, recent, self._share.pixels):
            self._roll_back(why)

    def _roll_back(self, why: str) -> None:
        bad = self.deployment.record().get("in_use", {})
        if not self.deployment.roll_back(why):
            log.error("the classifier in use, %s: %s; there is none to go back to", named(bad), why)
            self._presence.note(f"its classifier is bad: {why}")
            return
        now = self.deployment.record()["in_use"]
        text = "the classifier in use, %s, was taken out of use: %s; %s is in use again"
        log.error(text, named(bad), why, named(now))
        self._presence.note(f"went back to the classifier of {named(now)}: {why}")
        self._finish()

    def _renew(self, session: TaskSession, state: AgentState, broadcast: Any) -> None:
        """Make a classifier of the round that was answered, and put it into use if it may."""
        deployment, begun = self.deployment, time.monotonic()
        settings = self._context.settings
        facts = {
            "architecture": session.task_client.architecture,
            "licence": settings.model.licence,
            "accuracy_by_round": state.accuracies,
        }
        told = file_facts(session.contract, settings.name, facts, state.round)
        try:
            session.task_client.current(broadcast).export(deployment.candidate, broadcast, told)
            why = self._worse(session.share)
        except NoKnowledgeError:
            return  # nobody knows anything yet
        except ModelError as error:
            why = str(error)
        if why:
            deployment.refuse(why)
            text = "round %d: its classifier is not put into use: %s"
            log.info(text, state.round, why, extra={"round": state.round})
            return
        self._store.keep_previous_model(session.contract.run)
        deployment.put(deployment.candidate)
        self._recent.remember(session.share)
        self._presence.note("")
        self._finish()
        seconds = time.monotonic() - begun
        text = "round %d: its classifier is in use; made and checked in %.1f s"
        log.info(text, state.round, seconds, extra={"round": state.round})

    def _worse(self, share: DeviceSamples) -> str:
        """Return how the candidate is worse than the classifier in use; empty if it is not."""
        candidate = predict.open_model(self.deployment.candidate)
        tests: Samples = share.data.test
        hits_N = canary.correct(candidate, tests if len(tests) else share.data.train, share.pixels)
        if not len(tests) or not self.deployment.model.exists():
            return ""
        try:
            model = predict.open_model(self.deployment.model)
            if not canary.alike(candidate, model):
                return ""
            before_N = canary.correct(model, tests, share.pixels)
        except ModelError:
            return ""  # anything is better
        if not experts.is_worse_hits(hits_N, before_N):
            return ""
        right = f"of {len(tests)} test samples it has {hits_N.mean():.4f} right"
        return f"{right}, the one in use {before_N.mean():.4f}"

    def _finish(self) -> None:
        """Bring what is beside the classifier up to date."""
        if self._share is not None:
            settings = self._context.settings
            Companions(settings.folder, self._share, settings.model.int8).write()


def _trace(path: Path) -> tuple[int, int, int]:
    """Return what tells whether a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
