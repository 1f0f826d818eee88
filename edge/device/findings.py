"""What a look at a device finds: what was looked at, how it is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeloop.errors import EXIT_INPUT, EXIT_TAKEN, EXIT_UNAVAILABLE, EdgeloopError

Status = Literal["ok", "note", "warning", "error"]

MEGABYTE = 1e6


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: was looked at: one word or two.
        status: "ok"; a "note" on what was not looked at; a "warning" of what may go wrong; an
            "error" that keeps the device from taking part.
        found: how it is, a clause.
        remedy: what to do about it, an imperative clause; empty where nothing is to be done.
        exit_code: what a command ends with for this error, as docs/exit-codes.md has it; else 0.
    """

    what: str
    status: Status
    found: str
    remedy: str = ""
    exit_code: int = 0

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def line(self) -> str:
        """Return it as a line for a person."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.status:<8}{self.what:<13}{self.found}{remedy}"


def ok(what: str, found: str) -> Finding:
    """Return a finding of what is as it should be."""
    return Finding(what, "ok", found)


def note(what: str, found: str, remedy: str = "") -> Finding:
    """Return a finding that nobody needs to act upon."""
    return Finding(what, "note", found, remedy)


def warning(what: str, found: str, remedy: str) -> Finding:
    """Return a finding of what may go wrong."""
    return Finding(what, "warning", found, remedy)


def error(what: str, found: str, remedy: str, exit_code: int = EXIT_INPUT) -> Finding:
    """Return a finding that keeps the device from taking part."""
    return Finding(what, "error", found, remedy, exit_code)


def of_error(what: str, problem: EdgeloopError) -> Finding:
    """Return the finding of an error of ours, with its remedy and its exit code."""
    return error(what, f"{problem.field}: {problem.problem}", problem.remedy, problem.exit_code)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return what the command ends with: wrong input before what is taken, before what is away."""
    codes = {each.exit_code for each in findings if each.status == "error"}
    order = (EXIT_INPUT, EXIT_TAKEN, EXIT_UNAVAILABLE)
    return next((code for code in order if code in codes), 0)
