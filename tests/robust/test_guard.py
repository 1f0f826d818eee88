"""A robust rule before every algorithm's server part."""

import dataclasses
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

from edgeloop import algorithms, robust, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.errors import ConfigError
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.knowledge.weights import WeightsUpload
from edgeloop.protocol import robust_rules, wire
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.record import Record, RecordedRound
from edgeloop.robust import rules
from tests.algorithms import test_contract
from tests.algorithms.test_contract import Load
from tests.algorithms.test_hostile import Told, first_rounds, forged, with_floats

generator, load = test_contract.generator, test_contract.load
RULES: tuple[RobustRule, ...] = get_args(RobustRule)
TAKING = [name for name in algorithms.names() if algorithms.info(name).robust]
each_algorithm = pytest.mark.parametrize("load", TAKING, indirect=True)


def closed(
    algorithm: Algorithm[Any, Any, Any], at: Any, uploads: dict[str, Any], rule: RobustRule
) -> Any:
    found: list[Any] = []
    rounds = at.rounds + 1
    server_loop.run_rounds(algorithm, Told(uploads), rounds, at, found.append, rule=rule)
    return found[0]


def models(*values: float, samples: int = 10) -> dict[str, WeightsUpload]:
    return {
        f"c{number}": WeightsUpload(samples, np.full(4, value, np.float32))
        for number, value in enumerate(values)
    }


def prototypes(rows: dict[int, float], count: int = 10, width: int = 3) -> PrototypeUpload:
    return PrototypeUpload(
        np.array(sorted(rows), np.int64),
        np.full(len(rows), count, np.int64),
        np.stack([np.full(width, rows[label], np.float32) for label in sorted(rows)]),
    )


def copies(honest: dict[str, Any], count: int = 7) -> dict[str, Any]:
    """Return a cohort of so many: each client's upload several times, a little different."""
    names = sorted(honest)
    found = {}
    for number in range(count):
        upload = honest[names[number % len(names)]]
        change = with_floats(partial(np.multiply, 1 + number / 100))
        found[f"client-{number:02}"] = forged(upload, change(upload))
    return found


@each_algorithm
@pytest.mark.parametrize("rule", RULES)
def test_every_algorithm_goes_on_under_every_rule(load: Load, rule: RobustRule) -> None:
    algorithm = load()
    for at, honest in first_rounds(algorithm):
        uploads = copies(honest)
        before = [wire.fingerprint(each) for each in uploads.values()]
        found = closed(algorithm, at, uploads, rule)
        assert not found.excluded
        wire.check(found.run_state.state)
        wire.check(found.run_state.broadcast)
        assert [wire.fingerprint(each) for each in uploads.values()] == before
        again = closed(load(), at, dict(reversed(uploads.items())), rule).run_state
        assert wire.fingerprint(again.broadcast) == wire.fingerprint(found.run_state.broadcast)


@each_algorithm
def test_the_default_changes_no_bit_of_an_ordinary_round(load: Load) -> None:
    """Clients of several architectures, with classes that not all of them have."""
    algorithm, rounds = load(), 0
    for at, honest in first_rounds(algorithm):
        plain, guarded = (closed(algorithm, at, honest, rule) for rule in ("none", "norm"))
        assert not guarded.distant
        for part in ("state", "broadcast"):
            one, other = getattr(plain.run_state, part), getattr(guarded.run_state, part)
            assert wire.fingerprint(one) == wire.fingerprint(other)
        rounds += 1
    assert rounds


def test_the_default_leaves_out_what_points_the_other_way_from_a_cohort_of_one_mind() -> None:
    directions = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    agreed = {f"c{n}": WeightsUpload(9, 1 + each / 4) for n, each in enumerate(directions)}
    guard = robust.Guard("norm")
    bad = {**agreed, "c5": WeightsUpload(9, -900 * agreed["c5"].weights_P)}
    assert sorted(guard.apply(bad)) == ["c0", "c1", "c2", "c3", "c4"]
    assert [each.client for each in guard.far] == ["c5"]
    apart = {f"c{n}": WeightsUpload(9, each) for n, each in enumerate(directions)}
    left = guard.apply(apart)  # they are not of one mind: nobody is odd
    for name, each in apart.items():
        assert left[name].weights_P.tobytes() == each.weights_P.tobytes()


def test_the_default_keeps_what_points_apart_in_a_cohort_that_is_not_of_one_mind() -> None:
    """As FedKTL's honest uploads do: the median cosine is some 0.6, and one is opposed."""
    noise = np.random.default_rng(0).normal(size=(7, 50))
    vectors = [1 + 1.2 * each for each in noise[:6]] + [noise[6] - 0.8]
    rows = [np.asarray(each, np.float32) for each in vectors]
    lengths = rules.distances(rows, np.zeros(50))
    uploads = {f"c{n}": WeightsUpload(9, each) for n, each in enumerate(rows)}
    left = robust.Guard("norm").apply(uploads)
    assert list(left) == list(uploads)
    assert not any(rules.opposed(rows, lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "AGREED", 0.5)
        assert rules.opposed(rows, lengths) == [False] * 6 + [True]


@each_algorithm
def test_where_nobody_is_far_clipping_changes_no_bit(load: Load) -> None:
    algorithm = load()
    for at, honest in first_rounds(algorithm):
        uploads = {f"client-{n}": honest["client-00"] for n in range(4)}
        plain, clipped = (closed(algorithm, at, uploads, rule) for rule in ("none", "clip"))
        assert not clipped.distant
        for part in ("state", "broadcast"):
            one, other = getattr(plain.run_state, part), getattr(clipped.run_state, part)
            assert wire.fingerprint(one) == wire.fingerprint(other)


@each_algorithm
def test_one_of_seven_a_thousand_times_as_large_hardly_moves_what_all_learn(load: Load) -> None:
    algorithm = load()
    _, honest = first_rounds(algorithm)[0]
    uploads = copies({"client-00": honest["client-00"]})
    change = with_floats(lambda array: 1000 * array)
    bad = {**uploads, "client-03": forged(uploads["client-03"], change(uploads["client-03"]))}
    unpacked = algorithm.unpacked(uploads["client-00"])
    for rule in RULES[1:]:
        guard = robust.Guard(rule)
        left = guard.apply({name: algorithm.unpacked(each) for name, each in bad.items()})
        for each in left.values():
            assert wire.peak(each) <= 1.5 * wire.peak(unpacked), rule
        assert {each.client for each in guard.far} <= {"client-03"}
        assert guard.far, rule


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", 2002.0),
        ("norm", 2.6),
        ("clip", 2.5),
        ("median", 3.0),
        ("trimmed-mean", 3.0),
        ("krum", 2.5),
    ],
)
def test_fedavg_of_five_one_of_them_forged(rule: RobustRule, expected: float) -> None:
    algorithm = algorithms.load("fedavg", classes=2, width=4, shape=(1, 16, 16))
    forged_too = models(1.0, 2.0, 3.0, 4.0, 10_000.0)
    start = server_loop.initial_state(algorithm)
    loose = dataclasses.replace(algorithm, sizes={"P": 4})
    found = closed(loose, start, forged_too, rule).run_state.broadcast.weights_P
    assert np.allclose(found, expected)


def test_prototypes_are_compared_class_by_class() -> None:
    algorithm = algorithms.load("fedproto", classes=3, width=3)
    start = server_loop.initial_state(algorithm)
    uploads = {f"c{n}": prototypes({0: 1.0 + n / 10, 1: 5.0 + n / 10}) for n in range(4)}
    uploads["bad"] = prototypes({0: 5.0, 1: 1.0, 2: 9.0})
    found = closed(algorithm, start, uploads, "clip")
    means_CD = found.run_state.broadcast.prototypes_CD
    assert np.allclose(means_CD[:, 0], [1.18, 5.12, 9.0], atol=0.05)
    assert {(each.client, each.field) for each in found.distant} == {("bad", "class 1")}
    assert np.allclose(
        closed(algorithm, start, uploads, "median").run_state.broadcast.prototypes_CD[:2, 0],
        [1.2, 5.1],
    )


def test_where_a_class_has_one_a_prototype_is_not_longer_than_all_classes_are() -> None:
    algorithm = algorithms.load("fedproto", classes=3, width=3)
    uploads = {f"c{n}": prototypes({n % 2: 1.0}) for n in range(4)}
    uploads["bad"] = prototypes({2: 1000.0})
    found = closed(algorithm, server_loop.initial_state(algorithm), uploads, "clip")
    assert found.run_state.broadcast.known_C.tolist() == [True, True, False]
    assert np.allclose(found.run_state.broadcast.prototypes_CD[:2], 1.0)


@pytest.mark.parametrize("rule", RULES[2:])
def test_no_upload_counts_more_than_ten_times_the_median(rule: RobustRule) -> None:
    guard = robust.Guard(rule)
    uploads = models(1.0, 1.1, 1.2, 1.3) | {"zz": WeightsUpload(10**9, np.full(4, 1.4, np.float32))}
    assert all(each.samples <= 100 for each in guard.apply(uploads).values())
    rows = {f"c{n}": prototypes({0: 1.0, 1: 2.0}) for n in range(4)}
    rows["zz"] = prototypes({0: 1.0, 1: 2.0}, count=10**9)
    assert all(each.counts_N.max(initial=0) <= 100 for each in guard.apply(rows).values())


def test_by_norm_no_upload_counts_more_than_thirty_times_what_clients_have_most_of() -> None:
    guard = robust.Guard("norm")
    honest = models(1.0, 1.1, 1.2, 1.3)
    left = guard.apply(honest | {"zz": WeightsUpload(10**9, np.full(4, 1.4, np.float32))})
    assert left["zz"].samples == 300
    rows = {f"c{n}": prototypes({0: 1.0}, count=100) for n in range(4)}
    rows["c3"] = prototypes({0: 1.0, 1: 1.0}, count=2000)  # who alone has a class may say so
    rows["c4"] = prototypes({1: 1.0}, count=1)
    rows["zz"] = prototypes({1: 1.0}, count=10**9)
    found = guard.apply(rows)
    assert found["zz"].counts_N.tolist() == [3000]
    assert found["c3"].counts_N.tolist() == [2000, 2000]


def test_counts_of_classes_shrink_with_the_samples() -> None:
    algorithm = algorithms.load("fedgen", classes=2, width=4, shape=(1, 16, 16))
    fields = {"head_CK": np.zeros((2, 4), np.float32), "bias_C": np.zeros(2, np.float32)}

    def upload(samples: int) -> Any:
        counts = np.array([samples // 4, samples // 2], np.int64)
        return algorithm.upload(samples=samples, counts_C=counts, **fields)

    guard = robust.Guard("clip")
    uploads = {f"c{n}": upload(100) for n in range(4)} | {"zz": upload(10**8)}
    found = guard.apply(uploads)["zz"]
    assert (found.samples, list(found.counts_C)) == (1000, [250, 500])


def test_what_has_the_opposite_sign_is_left_out_and_said() -> None:
    guard = robust.Guard("clip")
    uploads = models(1.0, 1.5, 2.0, 2.5, 3.0) | {"zz": models(-1.0)["c0"]}
    assert "zz" not in guard.apply(uploads)
    assert [(each.client, each.field) for each in guard.far] == [("zz", "")]
    guard.forget()
    assert not guard.far


@dataclasses.dataclass(frozen=True, eq=False)
class WholeNumbers:
    """An upload of another package, whose kind does not allow everything."""

    samples: int
    values_P: Any

    def __post_init__(self) -> None:
        if (self.values_P % 1).any():
            raise ValueError("numbers that are not whole")


def test_a_kind_that_does_not_allow_what_a_rule_makes_is_left_out() -> None:
    uploads = {
        f"c{n}": WholeNumbers(1, np.full(2, value, np.float32))
        for n, value in enumerate((0, 1, 2, 3, 5, 14))
    }
    assert list(robust.Guard("clip").apply(uploads)) == ["c0", "c1", "c2", "c3", "c4"]
    with pytest.raises(ValueError, match="no upload allows what the rule median makes of it"):
        robust.Guard("median").apply(uploads)


def test_two_are_left_as_they_are() -> None:
    guard = robust.Guard("median")
    uploads = models(1.0, 1000.0)
    assert guard.apply(uploads) == uploads


def test_who_says_that_it_has_no_samples_is_no_exception() -> None:
    """Some algorithms count clients alike."""
    guard = robust.Guard("clip")
    uploads = models(1.0, 2.0, 3.0, 4.0) | {"zz": WeightsUpload(0, np.full(4, 1e6, np.float32))}
    assert list(guard.apply(uploads)) == ["c0", "c1", "c2", "c3"]


def test_an_algorithm_without_such_uploads_refuses_a_rule() -> None:
    for name in ("local", "class-statistics"):
        assert algorithms.robust_rule(name, "auto") == "none"
        with pytest.raises(ConfigError, match="has no uploads that a rule could change"):
            algorithms.robust_rule(name, "median")
    assert algorithms.robust_rule("fedproto", "auto") == robust_rules.DEFAULT


def test_a_replayed_run_has_the_recorded_rule() -> None:
    algorithm = algorithms.load("fedproto", classes=3, width=3)
    start = server_loop.initial_state(algorithm)
    uploads = {f"c{n}": prototypes({0: 1.0 + n / 10}) for n in range(4)}
    uploads["bad"] = prototypes({0: 1000.0})
    for rule in RULES:
        record = Record(
            task="t",
            run="r",
            algorithm="fedproto",
            rounds=(RecordedRound(answered=tuple(uploads)),),
            robust=rule,
        )
        policy = Record.model_validate_json(record.model_dump_json()).policy()
        found: list[Any] = []
        server_loop.run_rounds(
            algorithm, Told(uploads), 1, start, found.append, participation=policy
        )
        expected = closed(algorithm, start, uploads, rule)
        assert wire.fingerprint(found[0].run_state.broadcast) == wire.fingerprint(
            expected.run_state.broadcast
        )


def test_rules_with_stale_uploads_count_them_by_their_age() -> None:
    algorithm = algorithms.load("fedproto", classes=3, width=3)
    factors = {"c0": 1.0, "c1": 0.5, "c2": 0.5, "zz": 1.0}
    rows = {"c0": 1.0, "c1": 2.0, "c2": 2.0, "zz": 1000.0}
    uploads = {name: prototypes({0: value}) for name, value in rows.items()}
    weighing = server_loop._weighing(algorithm, factors)
    guarded = robust.guarded(weighing, robust.Guard("clip"))
    state = server_loop.initial_state(algorithm).state
    kept = guarded.aggregate_uploads(state, uploads)[1].prototypes_CD[0, 0]
    assert kept == pytest.approx((1 + 1 + 1) / 2)
