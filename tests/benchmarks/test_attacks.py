"""The table of attacks: what forgers send, and what stands in a cell."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import attacks, forged
from benchmarks.attacks import Case, Outcome
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.knowledge.weights import WeightsUpload


def prototypes() -> PrototypeUpload:
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    return PrototypeUpload(np.array([0, 1, 4]), np.array([7, 7, 7]), rows)


def test_what_forgers_send() -> None:
    assert forged.multiplied(prototypes(), -1.0).prototypes_ND.tolist() == [
        [-1, -2],
        [-3, -4],
        [-5, -6],
    ]
    found = forged.backdoored(prototypes(), 0, 5).prototypes_ND
    assert found.tolist() == [[9, 12], [3, 6], [5, 6]]
    model = WeightsUpload(9, np.array([100, 1, 2, 3, 4, 5, 6, 0.1, 0.2, 0.3], np.float32))
    changed = forged.backdoored(model, 9, 3).weights_P
    assert changed == pytest.approx([100, 9, 12, 3, 6, 5, 6, 0.6, 0.3, 0.3])


@pytest.mark.parametrize("algorithm", attacks.ALGORITHMS)
def test_a_run_has_every_clients_outcome(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "ROUNDS", 2)
    monkeypatch.setattr(attacks, "SAMPLES", 400)
    attacks.samples.cache_clear()
    found = {rule: attacks.run(Case(algorithm, "scale", 2, rule, 0)) for rule in ("none", "clip")}
    attacks.samples.cache_clear()
    for each in found.values():
        assert len(each.correct) == len(each.samples) == attacks.CLIENTS
    if algorithm == "fedavg":
        assert found["clip"].accuracy(8) > found["none"].accuracy(8)


def test_the_table_compares_the_same_clients(tmp_path: Path) -> None:
    outcome = Outcome((1,) * 8 + (9, 9), (10,) * 10)
    assert (outcome.accuracy(8), outcome.tested(8)) == (10.0, 80)
    asked = attacks.cases(["fedavg"], ["none", "median"], seeds=2)
    assert len(set(asked)) == len(asked) == 2 * 2 * (1 + 4 * 3) + 2 * 3
    found = dict.fromkeys(asked, outcome)
    rows = attacks.table(found)
    assert [row[:3] for row in rows[:3]] == [
        ["fedavg", "10 %", "none"],
        ["fedavg", "10 %", "absent"],
        ["fedavg", "10 %", "labels"],
    ]
    twenty = next(row for row in rows if row[1:3] == ["20 %", "absent"])
    assert twenty[3:] == ["10.0 ± 0.0", "-"], "a rule has nothing to do there"
