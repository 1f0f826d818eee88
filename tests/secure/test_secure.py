"""Secure aggregation: the sum is the plain sum, and the server sees nothing else."""

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope
from edgeloop.secure import ring, shamir
from edgeloop.secure.agreement import Agreement, SecureError
from edgeloop.secure.collector import Collector
from edgeloop.secure.device import SecureDevice
from edgeloop.secure.messages import Masked, PublicKeys, Revealed, SealedShares
from edgeloop.secure.rehearsal import STEPS, Step, add_in_secret
from tests.secure.drawing import draws

SIZE = 33


def facts(devices: int, threshold: int | None = None, **changes: Any) -> Agreement:
    most = devices // 2 + 1 if threshold is None else threshold
    return replace(Agreement("t", "r", 3, most, SIZE, devices), **changes)


def numbers(devices: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {f"d{n:02}": random.normal(scale=100, size=SIZE) for n in range(devices)}


@pytest.mark.parametrize("devices", [1, 2, 3, 7, 12])
def test_the_sum_is_the_plain_sum_to_the_fixed_point_step(devices: int) -> None:
    values = numbers(devices)
    found = add_in_secret(facts(devices), values, draws(devices))
    assert found.names == frozenset(values)
    exact = sum(np.rint(each * 2.0**24) for each in values.values()) / 2.0**24
    assert np.array_equal(found.total_V, exact)
    assert np.abs(found.total_V - sum(values.values())).max() <= devices * 2.0**-25 + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_whoever_vanishes_whenever(seed: int) -> None:
    """Up to those who are too many: then the round fails, and says so."""
    random = np.random.default_rng(seed)
    devices = int(random.integers(3, 10))
    values, agreement = numbers(devices, seed), facts(devices)
    gone = random.permutation(sorted(values))[: int(random.integers(0, devices))]
    vanish: dict[str, Step] = {str(n): STEPS[int(random.integers(0, 3))] for n in gone}
    before = {n for n in values if vanish.get(n) in (None, "reveal")}
    left = [n for n in values if n not in vanish]
    if len(left) < agreement.threshold:
        with pytest.raises(SecureError, match=r"and [0-9]+ must"):
            add_in_secret(agreement, values, draws(seed), vanish)
        return
    found = add_in_secret(agreement, values, draws(seed), vanish)
    assert found.names == before
    exact = sum(np.rint(values[name] * 2.0**24) for name in before) / 2.0**24
    assert np.array_equal(found.total_V, exact)


def test_what_the_server_holds_of_a_device_is_uniform() -> None:
    """Of numbers that are all the same: each byte of what is sent is as likely as any other."""
    agreement = facts(3, size=40_000)
    values = {name: np.full(40_000, 1.0) for name in ("a", "b", "c")}
    found = add_in_secret(agreement, values, draws(0))
    for sent in found.masked.values():
        seen = np.bincount(np.frombuffer(sent.values_V.tobytes(), np.uint8), minlength=256)
        expected = seen.sum() / 256
        chi = float(((seen - expected) ** 2 / expected).sum())
        assert 255 - 5 * np.sqrt(2 * 255) < chi < 255 + 5 * np.sqrt(2 * 255)
    one, other = (add_in_secret(agreement, values, draws(n)).masked["a"] for n in (1, 2))
    assert not np.array_equal(one.values_V, other.values_V)


def test_all_but_one_against_one_learn_its_numbers_only_from_the_sum() -> None:
    """The others' masks do not take away its own."""
    values = numbers(3)
    agreement = facts(3)
    devices = {name: SecureDevice(name, agreement, draws(0)(name)) for name in values}
    server = Collector(agreement)
    keys = server.begin({name: each.public_keys() for name, each in devices.items()})
    shares = server.pass_on({name: each.share(keys) for name, each in devices.items()})
    encoded = {name: ring.encode(each, 3) for name, each in values.items()}
    sent = {name: devices[name].masked(encoded[name], shares[name]) for name in values}
    peeled = sent["d00"].values_V.view(np.uint64)
    for other in ("d01", "d02"):
        peeled = peeled - agreement.mask(devices[other]._pair_key("d00"))
    assert not np.array_equal(peeled, encoded["d00"])
    assert np.array_equal(peeled, encoded["d00"] + agreement.mask(devices["d00"]._seed))


def begun(count: int = 4) -> tuple[dict[str, SecureDevice], Collector, dict[str, SealedShares]]:
    agreement = facts(count)
    names = [f"d{n:02}" for n in range(count)]
    devices = {name: SecureDevice(name, agreement, draws(0)(name)) for name in names}
    server = Collector(agreement)
    keys = server.begin({name: each.public_keys() for name, each in devices.items()})
    return devices, server, server.pass_on({n: each.share(keys) for n, each in devices.items()})


def test_a_device_never_tells_both_of_another() -> None:
    devices, server, shares = begun()
    for name, each in devices.items():
        each.masked(np.zeros(SIZE, np.uint64), shares[name])
    devices["d00"].reveal(["d00", "d01", "d02"])
    with pytest.raises(SecureError, match="once in a round"):
        devices["d00"].reveal(["d00", "d01", "d03"])
    with pytest.raises(SecureError, match="2 devices in the sum"):
        devices["d01"].reveal(["d00", "d01"])
    with pytest.raises(SecureError, match="some that sent no shares"):
        devices["d02"].reveal(["d00", "d01", "stranger"])
    assert server.shared == frozenset(devices)


def test_no_step_is_answered_twice() -> None:
    devices, server, shares = begun()
    with pytest.raises(SecureError, match="step share is answered once"):
        devices["d00"].share(server.keys)
    devices["d00"].masked(np.zeros(SIZE, np.uint64), shares["d00"])
    with pytest.raises(SecureError, match="step masked is answered once"):
        devices["d00"].masked(np.zeros(SIZE, np.uint64), shares["d00"])


def test_shares_for_another_or_changed_ones_are_refused() -> None:
    devices, _, shares = begun()
    with pytest.raises(SecureError, match="only 0 shares of 2 can be opened"):
        devices["d00"].masked(np.zeros(SIZE, np.uint64), shares["d01"])
    changed = shares["d02"].sealed_NS.copy()
    changed[0, 5] ^= 1
    devices["d02"].masked(np.zeros(SIZE, np.uint64), replace(shares["d02"], sealed_NS=changed))
    assert devices["d02"].held.keys() == {"d01", "d02", "d03"}, "of the others it can tell"
    told = devices["d02"].reveal(list(devices))
    assert told.known_N.tolist() == [False, True, True, True]


def test_false_shares_make_no_sum() -> None:
    devices, server, shares = begun()
    server.collect(
        {n: each.masked(np.zeros(SIZE, np.uint64), shares[n]) for n, each in devices.items()}
    )
    told = {name: each.reveal(server.survivors) for name, each in devices.items()}
    forged = told["d01"].shares_NS.copy()
    forged[:, 40] ^= 1
    three = {name: told[name] for name in ("d00", "d02")}
    with pytest.raises(SecureError, match="3 shares make no secret that d00 has committed to"):
        server.total({**three, "d01": Revealed(forged, told["d01"].known_N)})


def test_a_threshold_must_be_a_majority_and_be_reached() -> None:
    device = SecureDevice("d00", facts(4, threshold=2), draws(0)("d00"))
    keys = {f"d{n:02}": SecureDevice(f"d{n:02}", facts(4, 2)).public_keys() for n in range(1, 4)}
    with pytest.raises(SecureError, match="no majority"):
        device.share({**keys, "d00": device.public_keys()})
    with pytest.raises(SecureError, match="2 devices, 3 to 4 can"):
        Collector(facts(4, threshold=3)).begin(dict(list(keys.items())[:2]))


def test_a_server_cannot_give_a_device_another_key_or_one_twice() -> None:
    device = SecureDevice("d00", facts(3), draws(0)("d00"))
    other, third = (SecureDevice(n, facts(3)).public_keys() for n in ("d01", "d02"))
    with pytest.raises(SecureError, match="are not its own"):
        device.share({"d00": third, "d01": other, "d02": third})
    device = SecureDevice("d00", facts(3), draws(0)("d00"))
    with pytest.raises(SecureError, match="two keys are the same"):
        device.share({"d00": device.public_keys(), "d01": other, "d02": other})


@pytest.mark.parametrize("size", [1, 16, 32, 64])
def test_any_so_many_shares_make_the_secret_and_fewer_do_not(size: int) -> None:
    secret = bytes(range(256 - size, 256))
    shares = shamir.split(secret, 3, [1, 2, 3, 5, 9], draws(1)("x"))
    for some in itertools.combinations(shares, 3):
        assert shamir.combine({point: shares[point] for point in some}, size) == secret
    assert shamir.combine(shares, size) == secret
    two = {point: shares[point] for point in (1, 9)}
    with contextlib.suppress(ValueError):  # they may make a number that is larger than any secret
        assert shamir.combine(two, size) != secret


def test_two_shares_of_three_fit_every_secret() -> None:
    """So that they say nothing of it: for any other secret there is a third share that fits."""
    shares = shamir.split(b"\x07", 3, [1, 2, 3], draws(2)("x"))
    given = {1: int.from_bytes(shares[1], "big"), 2: int.from_bytes(shares[2], "big")}
    for other in (0, 1, 200):
        # f(3) = f(0) - 3 f(1) + 3 f(2) for a polynomial of degree 2
        third = (other - 3 * given[1] + 3 * given[2]) % shamir.PRIME
        fitting = {1: shares[1], 2: shares[2], 3: third.to_bytes(shamir.SHARE_BYTES, "big")}
        assert shamir.combine(fitting, 1) == bytes([other])


def test_what_cannot_be_shared() -> None:
    for secret, threshold, points in ((bytes(65), 1, [1]), (b"a", 3, [1, 2]), (b"a", 1, [0])):
        with pytest.raises(ValueError, match=r"secret of|cannot be asked|below 1"):
            shamir.split(secret, threshold, points, draws(0)("x"))


def test_numbers_that_might_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="too large to be added 1000 times"):
        ring.encode(np.array([1e9]), 1000)
    assert ring.decode(ring.encode(np.array([-1e8, 0.25]), 1000)).tolist() == [-1e8, 0.25]


def test_every_message_fits_a_frame() -> None:
    devices, server, shares = begun()
    sent = devices["d00"].masked(np.zeros(SIZE, np.uint64), shares["d00"])
    told = devices["d00"].reveal(server.shared)
    kinds = {PublicKeys: devices["d01"].public_keys(), SealedShares: shares["d01"]}
    for kind, message in {**kinds, Masked: sent, Revealed: told}.items():
        payload = wire.encode(Envelope("t", "r", 1, "d00"), message)
        found: Any = wire.decode(payload, kind)[kind]
        assert wire.fingerprint(found) == wire.fingerprint(message)
