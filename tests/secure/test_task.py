"""What a task with secure aggregation must be, what its contract says, and who takes part in it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.aggregator.agreement import check_secure, make_contract, unchosen
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.stored_steps import LedgerSteps
from edge.agent.secure_rounds import SecureRounds
from edge.agent.store import AgentState, AgentStore
from edge.agent.task_session import load_context, open_session
from edgeloop import algorithms, data
from edgeloop.cohorts.stepped_log import Decision, MemorySteps, StepLog, SteppedLog
from edgeloop.cohorts.uploads import MemoryLog, Upload
from edgeloop.errors import ConfigError, MisfitError
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Contract
from edgeloop.runtime import modules
from edgeloop.runtime.config import BrokerSettings, parse
from tests.one_device import DEVICE, Task, write_data
from tests.postgres import Postgres
from tests.secure.hand_made import REPORT
from tests.world import contract

DEVICES = [f"d{number}" for number in range(5)]


def settings(algorithm: str = "fedavg", ingest: bool = False, **cohort: Any) -> TaskSettings:
    table = {
        "name": "t",
        "algorithm": algorithm,
        "class_names": ["a", "b"],
        "shape": [1, 8, 8],
        "rounds": 1,
        "folder": "folder",
        "cohort": {"devices": DEVICES, "secure": True, **cohort},
        "ingest": {"shared": ingest},
    }
    return parse(table, TaskSettings, "task.toml")


def test_the_contract_says_how_many_are_in_a_sum_and_has_no_rule() -> None:
    found = make_contract(settings())
    assert (found.secure, found.robust) == (3, "none")
    assert make_contract(settings(quorum=4)).secure == 4
    assert make_contract(settings(quorum="80%")).secure == 3
    assert make_contract(settings(secure=False)).secure == 0
    assert unchosen(settings()) == {"signatures"}
    assert '"needs":5' in found.text(grown=False), "an older device must refuse it"
    assert Contract.model_validate_json(found.text()).secure == 3


@pytest.mark.parametrize(
    ("cohort", "said"),
    [
        ({"robust": "clip"}, "robust = clip compares single uploads"),
        ({"robust": "norm"}, "robust = norm compares single uploads"),
        ({"outliers": "refuse"}, "outliers = refuse looks at single uploads"),
        ({"buffer": 2}, "buffer adds answers to other rounds"),
        ({"forgotten": ["d1"]}, "nobody can be taken out of sums again"),
        ({"devices": ["a", "b"]}, "secure needs 3 devices in a round, and 2 are asked"),
        ({"sample": "20%"}, "secure needs 3 devices in a round, and 1 are asked"),
        ({"devices": [f"d{n}" for n in range(1001)]}, "secure takes 1000 devices in a round"),
        ({"ingest": True}, "ingest.shared takes whole uploads only"),
    ],
)
def test_what_needs_single_uploads_is_refused(cohort: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**cohort)


@pytest.mark.parametrize("name", ["fedtgp", "class-statistics"])
def test_what_cannot_be_added_is_refused(name: str) -> None:
    facts = {"base_sha256": "0" * 64, "dims": 4} if name == "class-statistics" else {"width": 4}
    with pytest.raises(ConfigError, match=r"cohort\.secure.*needs single uploads"):
        check_secure(algorithms.load(name, classes=2, **facts), settings(name))
    check_secure(algorithms.load("fedproto", classes=2, width=4), settings("fedproto"))


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
def steps(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StepLog]:
    if request.param == "memory":
        yield MemorySteps()
        return
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.database()
    with Ledger.open(url) as ledger:
        ledger.adopt(contract(devices=DEVICES, secure=3))
        ledger.begin(b"state", b"broadcast")
        yield LedgerSteps(ledger)
        assert ledger.forget("t") == 1


def test_the_first_word_counts_in_a_ledger_as_in_memory(steps: StepLog) -> None:
    log = SteppedLog(MemoryLog(), steps, step=2)
    log.record_all(0, [Upload("b", "x", b"1"), Upload("a", "y", b"2"), Upload("b", "z", b"3")])
    log.record_all(0, [Upload("a", "w", b"4")])
    log.decide(0, 2, Decision(frozenset({"a", "b"})))
    log.decide(0, 2, Decision(frozenset({"a"})))
    assert log.recall(0) == {"a": b"2", "b": b"1"}
    assert log.held_step(0, 2, "a") == wire.digest(b"2")
    assert log.decided(0, 2) == Decision(frozenset({"a", "b"}))
    assert log.decided(0, 3) is None
    log.decide(0, 4, Decision(frozenset()))
    assert log.decided(0, 4) == Decision(frozenset())
    log.drop(0, "a")
    assert steps.recall_step(0, 2, ()) == {"b": b"1"}
    log.forget_round(0)
    assert steps.recall_step(0, 2, (SERVER,)) == {}
    log.record_all(0, [Upload("b", "x", b"1")])


def of_device(folder: Path, **changes: Any) -> tuple[Any, Contract]:
    task = Task(folder, write_data(folder / "one"), BrokerSettings(), None)
    fields = {"class_names": data.load(str(task.source)).class_names, "width": 16}
    own = {"devices": (DEVICE, "b", "c"), "secure": 3, "task": task.device().task}
    return load_context(task.device()), contract(**{**fields, **own, **changes})


def test_a_device_refuses_sums_that_it_cannot_take_part_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, wanted = of_device(tmp_path)
    other = wanted.model_copy(update={"algorithm": "fedtgp"})
    with pytest.raises(MisfitError, match="fedtgp needs single uploads"):
        open_session(mine, other)
    monkeypatch.setattr(modules, "find", lambda name: None)
    with pytest.raises(ConfigError, match="cryptography is not installed"):
        open_session(mine, wanted)


@pytest.mark.parametrize(("secure", "told"), [(3, False), (0, True)])
def test_a_device_in_a_sum_tells_no_loss_of_its_own(
    tmp_path: Path, secure: int, told: bool
) -> None:
    mine, wanted = of_device(tmp_path, secure=secure)
    session = open_session(mine, wanted)
    answer = session.answer(0, algorithms.load_for_contract(wanted).start()[1])
    assert answer.upload is not None
    assert (answer.report.train_loss is not None) == told


def test_what_a_device_remembers_of_a_round_goes_with_its_last_step(tmp_path: Path) -> None:
    """And an answer without an upload, or with one that is too large, is a report alone."""
    mine, wanted = of_device(tmp_path)
    session = open_session(mine, wanted)
    rounds, store = SecureRounds(DEVICE), AgentStore(tmp_path / "device", DEVICE, wanted.task)
    assert rounds.begin(session, 0, (REPORT,)) == ((REPORT,), {})
    answer = session.answer(0, algorithms.load_for_contract(wanted).start()[1])
    upload: Any = answer.upload
    huge = replace(upload, prototypes_ND=upload.prototypes_ND + np.float32(1e30))
    assert rounds.begin(session, 0, (huge, REPORT)) == ((REPORT,), {})
    messages, secure = rounds.begin(session, 0, (upload, REPORT))
    assert messages[1] is REPORT
    state = AgentState("r", 0, b"answer", secure=secure)
    store.save(state)
    assert store.path.stat().st_mode & 0o777 == 0o600
    again: Any = store.load("r")
    assert wire_of(again.secure) == wire_of(secure)
    store.save(AgentState("r", 1, b"answer"))
    assert store.load("r") == AgentState("r", 1, b"answer")
    assert SecureRounds(DEVICE).hear(b"no chunk", session, again) is None
    damaged = AgentState("r", 0, b"", secure={"secrets": secure["secrets"]})
    assert SecureRounds(DEVICE)._open(session, damaged) is None


def wire_of(arrays: Any) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}
