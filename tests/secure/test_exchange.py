"""The four steps as frames: in any order, twice, after restarts; some devices vanish or lie."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.secure.agreement import SecureError, SpoiledError
from edgeloop.secure.exchange import DeviceRound, ServerRound
from edgeloop.secure.messages import Survivors
from tests.secure.drawing import draws

SIZE, LEAST = 21, 3
PLACE = Envelope("t", "r", 2, SERVER)
NAMES = [f"d{n}" for n in range(5)]
SURVIVE = Survivors(np.ones(5, bool))


def numbers() -> dict[str, Any]:
    made = np.random.default_rng(1)
    return {name: made.normal(size=SIZE) for name in NAMES}


def exact(names: Any) -> Any:
    return sum(np.rint(numbers()[name] * 2.0**24) for name in names) / 2.0**24


def total(server: ServerRound) -> Any:
    assert server.total_V is not None
    return server.total_V


def play(vanish: dict[str, int], seed: int) -> ServerRound:
    """Play a round whose frames come twice, and are answered once; some devices vanish."""
    order = np.random.default_rng(seed)
    devices = {n: device(n, each, seed) for n, each in numbers().items()}
    keys = {name: each.public_keys for name, each in devices.items() if vanish.get(name, 9)}
    server = ServerRound(PLACE, keys, LEAST)
    for step in (1, 2, 3):
        said, answers = server.said(), {}
        frames = [name for name in said if vanish.get(name, 9) > step]
        for place in order.permutation(2 * len(frames)):
            name = frames[place // 2]
            answer = devices[name].answer(said[name])
            if answer is None:
                assert devices[name].repeats(said[name]), "it has answered that"
                continue
            if arrays := devices[name].arrays():  # as after a restart
                devices[name] = DeviceRound.restored(replace(PLACE, sender=name), LEAST, arrays)
            answers[name] = wire.decode(answer, server.kind, sizes=server.sizes)[server.kind]
        server.close(answers)
    return server


def device(name: str, values_V: Any, seed: int = 0) -> DeviceRound:
    return DeviceRound(replace(PLACE, sender=name), values_V, LEAST, draws(seed)(name))


@pytest.mark.parametrize("seed", range(6))
def test_frames_in_any_order_and_twice(seed: int) -> None:
    server = play({}, seed)
    assert server.names == frozenset(NAMES)
    assert np.array_equal(total(server), exact(NAMES))


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_two_of_five_vanish_before_a_step(step: int) -> None:
    server = play({"d1": step, "d4": step}, seed=step)
    there = NAMES if step == 3 else ["d0", "d2", "d3"]
    assert server.names == frozenset(there)
    assert np.array_equal(total(server), exact(there))


def test_three_of_five_are_too_many() -> None:
    with pytest.raises(SecureError, match="2 have sent numbers, and 3 must"):
        play({"d1": 2, "d2": 2, "d4": 2}, seed=0)


def begun(seed: int = 0) -> tuple[dict[str, DeviceRound], ServerRound]:
    devices = {n: device(n, each, seed) for n, each in numbers().items()}
    return devices, ServerRound(PLACE, {n: each.public_keys for n, each in devices.items()}, LEAST)


def answers_of(devices: dict[str, DeviceRound], server: ServerRound) -> dict[str, Any]:
    found = {}
    for name, payload in server.said().items():
        answer = devices[name].answer(payload)
        assert answer is not None
        found[name] = wire.decode(answer, server.kind, sizes=server.sizes)[server.kind]
    return found


def test_a_server_that_asks_for_both_shares_of_a_device_is_refused() -> None:
    """First for the seeds of all, then for the key of one whose numbers it has."""
    devices, server = begun()
    server.close(answers_of(devices, server))
    server.close(answers_of(devices, server))
    honest = server.said()
    place = replace(PLACE, sender=SERVER)
    other = wire.encode(place, Survivors(np.array([False, True, True, True, True])))
    assert devices["d1"].answer(honest["d1"]) is not None
    with pytest.raises(SecureError, match="step 4 is asked for twice, in two ways"):
        devices["d1"].answer(other)
    assert devices["d1"].arrays() == {}, "nothing is kept that could tell more"
    few = wire.encode(place, Survivors(np.array([False, True, True, False, False])))
    with pytest.raises(SecureError, match="2 devices in the sum"):
        devices["d2"].answer(few)
    assert devices["d2"].answer(honest["d2"]) is None, "it is out of the round"


def test_a_sum_of_fewer_than_the_contract_says_is_refused() -> None:
    devices = {n: device(n, each) for n, each in numbers().items() if n in ("d0", "d1")}
    server = ServerRound(PLACE, {n: each.public_keys for n, each in devices.items()}, 2)
    with pytest.raises(SecureError, match="a sum of 2 devices and 21 numbers; the contract says 3"):
        devices["d0"].answer(server.said()["d0"])


def test_false_shares_are_found_and_the_sum_is_right() -> None:
    devices, server = begun()
    server.close(answers_of(devices, server))
    server.close(answers_of(devices, server))
    told = answers_of(devices, server)
    told["d0"].shares_NS[:] ^= 1
    server.close(told)
    assert server.liars == {"d0"}
    assert np.array_equal(total(server), exact(NAMES))


def test_whoever_gives_all_others_false_shares_is_named() -> None:
    """They can be opened, and make nothing; or cannot be opened at all."""
    for spoil in ("sealed", "numbers"):
        devices, server = begun()
        sent = answers_of(devices, server)
        if spoil == "sealed":
            sent["d3"].sealed_NS[:] ^= 1
        server.close(sent)
        server.close(answers_of(devices, server))
        told = answers_of(devices, server)
        if spoil == "numbers":
            for row, each in enumerate(told.values()):
                each.shares_NS[3] = row + 7
        with pytest.raises(SpoiledError, match="no secret that d3 has committed to") as error:
            server.close(told)
        assert error.value.device == "d3"


def test_what_is_not_the_next_step_of_this_round_is_not_answered() -> None:
    devices, server = begun()
    said = server.said()["d0"]
    server.close(answers_of(devices, server))
    fresh = device("d0", numbers()["d0"])
    assert fresh.answer(server.said()["d0"]) is None, "not its turn"
    assert fresh.answer(said) is not None
    later = wire.encode(replace(PLACE, round=9), SURVIVE)
    for payload, error in (
        (later, "another round"),
        (wire.encode(replace(PLACE, sender="d1"), SURVIVE), "not the server's"),
        (wire.encode(replace(PLACE, sender=SERVER), fresh.public_keys), "is no step"),
        (b"", "do not begin as a frame"),
    ):
        with pytest.raises(wire.WireError, match=error):
            fresh.answer(payload)


def test_numbers_that_are_too_large_for_so_many_take_no_part() -> None:
    with pytest.raises(ValueError, match="too large to be added 3 times"):
        device("d0", np.full(SIZE, 1e12))
    large = device("d0", np.full(SIZE, 1.5e11))
    others = {n: device(n, each) for n, each in numbers().items() if n != "d0"}
    devices = {"d0": large, **others}
    server = ServerRound(PLACE, {n: each.public_keys for n, each in devices.items()}, LEAST)
    server.close(answers_of(devices, server))
    with pytest.raises(SecureError, match="too large to be added 5 times"):
        large.answer(server.said()["d0"])
