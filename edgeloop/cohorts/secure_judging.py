"""What becomes of what devices send to a step of a secure round."""

from collections.abc import Callable
from typing import Any

from edgeloop.cohorts.judging import AnswerJudge
from edgeloop.cohorts.stepped_log import SteppedLog
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.wire import Frame, OpenFrame
from edgeloop.secure.exchange import UP, step_of

_STEPS = UP[1:]
"""What is an answer to a step, and none to a round."""


class SecureJudge(AnswerJudge):
    """Reads what devices send, and gives verdicts, also on answers to a step.

    Attributes:
        sizes: of the step's answers, by dimension letter.
        on_behind: called with a device that sends its answer to a step before again: it may have
            missed what was said since.
    """

    sizes: dict[str, int]
    on_behind: Callable[[str], None]
    _uploads: SteppedLog

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sizes, self.on_behind = {}, lambda device: None

    def _elsewhere(
        self, gathering: Gathering[Frame], device: str, opened: OpenFrame
    ) -> Verdict | None:
        """Return the verdict on an answer to another round or step; None for one to this."""
        if elsewhere := super()._elsewhere(gathering, device, opened):
            return elsewhere
        sent, open_step = step_of(opened.kinds, UP), self._uploads.step
        if sent is None or sent == open_step:
            return None
        if sent > open_step:
            return Verdict.WRONG_ROUND
        held = self._uploads.held_step(gathering.round_number, sent, device)
        if held != opened.digest:
            return Verdict.LATE if held is None else Verdict.CONFLICT
        if device in gathering.missing():
            self.on_behind(device)
        return Verdict.DUPLICATE

    def _frame(self, opened: OpenFrame, kinds: tuple[type, ...]) -> Frame:
        """Return an answer's frame; to a step, with what it asks for and nothing else.

        Raises:
            WireError: if it is none.
        """
        if kinds and kinds[0] in _STEPS:
            return opened.read(*kinds, sizes=self.sizes)
        return super()._frame(opened, kinds)
