"""Whatever one of three clients uploads, every algorithm's round has a result to continue with."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgeloop import server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.client import Answer, Report
from edgeloop.errors import GeneratorError
from edgeloop.protocol import wire
from edgeloop.server_loop import RoundResult, RunState
from tests.algorithms import test_contract
from tests.algorithms.test_contract import Load, cohort

generator, load = test_contract.generator, test_contract.load
REPORT = Report(1, 2, 3, 0.1, 0.2)
HOSTILE = "client-01"
MOST = np.iinfo(np.int64).max


def with_floats(change: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Change all arrays of floats of an upload."""

    def changed(upload: Any) -> dict[str, Any]:
        arrays = wire.arrays(upload).items()
        with np.errstate(over="ignore"):  # half precision has no 1e10: that is infinite then
            return {n: change(a).astype(a.dtype) for n, a in arrays if a.dtype.kind == "f"}

    return changed


def with_integers(change: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Change all arrays of integers of an upload, and its numbers."""

    def changed(upload: Any) -> dict[str, Any]:
        arrays = wire.arrays(upload).items()
        fields = {n: change(a).astype(a.dtype) for n, a in arrays if a.dtype.kind == "i"}
        if hasattr(upload, "samples"):
            fields["samples"] = int(change(np.array([upload.samples]))[0])
        return fields

    return changed


def emptied(upload: Any) -> dict[str, Any]:
    return {name: array[:0] for name, array in wire.arrays(upload).items()}


def alternating(array: Any) -> Any:
    """Return values whose sums and differences leave what a float can hold."""
    return np.where(np.arange(array.size).reshape(array.shape) % 2, 3e38, -3e38)


CHANGES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "1e10": with_floats(lambda a: np.full_like(a, 1e10)),
    "1e15": with_floats(lambda a: np.full_like(a, 1e15)),
    "1e30": with_floats(lambda a: np.full_like(a, 1e30)),
    "3e38": with_floats(lambda a: np.full_like(a, 3e38)),
    "alternating": with_floats(alternating),
    "tiny": with_floats(lambda a: np.full_like(a, 1e-45)),
    "zero": with_floats(np.zeros_like),
    "equal": with_floats(np.ones_like),
    "NaN": with_floats(lambda a: np.full_like(a, np.nan)),
    "infinite": with_floats(lambda a: np.full_like(a, np.inf)),
    "wrapped": with_integers(lambda a: np.resize([0, MOST, -MOST + 4, 3], a.shape)),
    "most": with_integers(lambda a: np.full_like(a, MOST)),
    "least": with_integers(lambda a: np.full_like(a, -MOST)),
    "duplicated": with_integers(lambda a: np.full_like(a, 1)),
    "no samples": with_integers(np.zeros_like),
    "empty": emptied,
}


def forged(upload: Any, fields: dict[str, Any]) -> Any:
    """Return an upload with other fields, whatever its class thinks of them."""
    made = object.__new__(type(upload))
    for field in dataclasses.fields(upload):
        value = fields.get(field.name, getattr(upload, field.name))
        object.__setattr__(made, field.name, value)
    return made


@dataclass
class Told:
    """A cohort whose answers are known before."""

    uploads: dict[str, Any]

    def ask(self, *_: Any) -> dict[str, Answer[Any]]:
        return {name: Answer(each, REPORT) for name, each in self.uploads.items()}

    def finish(self, *_: Any) -> dict[str, Report]:
        return {}


def after(algorithm: Algorithm[Any, Any, Any], at: RunState[Any, Any], **uploads: Any) -> Any:
    """Return the round, closed, that these uploads make."""
    closed: list[RoundResult[Any, Any, Any]] = []
    sent = {name.replace("_", "-"): each for name, each in uploads.items()}
    server_loop.run_rounds(algorithm, Told(sent), at.rounds + 1, at, closed.append)
    return closed[0]


def first_rounds(algorithm: Algorithm[Any, Any, Any]) -> list[tuple[RunState[Any, Any], Any]]:
    """Return where two rounds begin, and what honest clients upload in each."""
    closed: list[RoundResult[Any, Any, Any]] = []
    start = server_loop.initial_state(algorithm)
    server_loop.run_rounds(algorithm, cohort(algorithm), 2, start, closed.append)
    begun = [start, closed[0].run_state]
    sent = [{name: a.upload for name, a in each.answers.items()} for each in closed]
    return list(zip(begun, sent, strict=True))


def named(uploads: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): each for name, each in uploads.items()}


def test_one_of_three_spoils_no_round(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    algorithm = load()
    for run_state, honest in first_rounds(algorithm):
        others = {name: each for name, each in honest.items() if name != HOSTILE}
        expected = after(algorithm, run_state, **named(others))
        for change, changed in CHANGES.items():
            caplog.clear()
            bad = forged(honest[HOSTILE], changed(honest[HOSTILE]))
            closed = after(algorithm, run_state, **named({**honest, HOSTILE: bad}))
            wire.check(closed.run_state.state)
            wire.check(closed.run_state.broadcast)
            assert set(closed.excluded) <= {HOSTILE}, change
            if closed.excluded:
                assert f"excludes the upload of {HOSTILE}" in caplog.text
                found = wire.fingerprint(closed.run_state.broadcast)
                assert found == wire.fingerprint(expected.run_state.broadcast), change


def test_what_is_no_number_is_set_aside(load: Load) -> None:
    algorithm = load()
    run_state, honest = first_rounds(algorithm)[0]
    for change in ("1e30", "NaN"):
        fields = CHANGES[change](honest[HOSTILE])
        if any(array.size for array in fields.values()):
            bad = forged(honest[HOSTILE], fields)
            closed = after(algorithm, run_state, **named({**honest, HOSTILE: bad}))
            assert set(closed.excluded) == {HOSTILE}


def test_where_all_spoil_it_the_round_changes_nothing(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = load()
    run_state, honest = first_rounds(algorithm)[1]
    if not any(array.size for array in CHANGES["NaN"](honest[HOSTILE]).values()):
        return  # no floats travel
    all_bad = {name: forged(honest[HOSTILE], CHANGES["NaN"](honest[HOSTILE])) for name in honest}
    closed = after(algorithm, run_state, **named(all_bad))
    assert set(closed.excluded) == set(honest)
    assert closed.run_state == dataclasses.replace(run_state, rounds=2)
    assert "round 1 changes nothing: no upload could be used" in caplog.text


def test_what_is_not_an_uploads_doing_ends_the_run(load: Load) -> None:
    algorithm = load()
    run_state, honest = first_rounds(algorithm)[0]

    def away(*_: Any) -> Any:
        raise GeneratorError("generator", "is away", "start it")

    def broken(*_: Any) -> Any:
        raise MemoryError

    for aggregate, error in ((away, GeneratorError), (broken, MemoryError)):
        other = dataclasses.replace(algorithm, aggregate=aggregate, aggregate_by_name=None)
        with pytest.raises(error):
            after(other, run_state, **named(honest))


def refusing(
    algorithm: Algorithm[Any, Any, Any], at: RunState[Any, Any], uploads: dict[str, Any]
) -> RoundResult[Any, Any, Any]:
    """Return the round, closed, of a run that refuses what is far from the cohort's."""
    closed: list[RoundResult[Any, Any, Any]] = []
    rounds = at.rounds + 1
    server_loop.run_rounds(
        algorithm, Told(uploads), rounds, at, closed.append, refuse_outliers=True
    )
    return closed[0]


def test_what_is_far_from_the_cohorts_is_set_aside_where_that_is_asked(load: Load) -> None:
    """Floats a million times the others', and counts; a round of the others is what is left."""
    algorithm = load()
    for run_state, three in first_rounds(algorithm):
        honest = three | {f"client-1{n}": three["client-00"] for n in range(3)}
        quiet = refusing(algorithm, run_state, honest)
        assert not quiet.excluded
        assert not quiet.outliers
        others = {name: each for name, each in honest.items() if name != HOSTILE}
        expected = after(algorithm, run_state, **named(others))
        for change in (with_floats(lambda a: a * 1e6), with_integers(lambda a: a * 10**6)):
            fields = change(honest[HOSTILE])
            bad = forged(honest[HOSTILE], fields)
            if not wire.magnitudes(bad).items() - wire.magnitudes(honest[HOSTILE]).items():
                continue  # nothing of that kind travels
            closed = refusing(algorithm, run_state, {**honest, HOSTILE: bad})
            assert set(closed.excluded) == {HOSTILE}
            found = wire.fingerprint(closed.run_state.broadcast)
            assert found == wire.fingerprint(expected.run_state.broadcast)
            likely = after(algorithm, run_state, **named({**honest, HOSTILE: bad}))
            assert likely.outliers or likely.excluded, "it is said in any case"
