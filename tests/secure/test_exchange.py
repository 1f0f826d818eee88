"""The four steps as frames: in any order, twice, with devices that vanish; and over a broker."""

import threading
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.runtime.config import BrokerSettings
from edgeloop.secure.agreement import Agreement, SecureError
from edgeloop.secure.exchange import DeviceRound, ServerRound
from tests.secure.drawing import draws

SIZE = 21
FACTS = Agreement("t", "r", 2, 3, SIZE, 5)
NAMES = [f"d{n}" for n in range(5)]
SECONDS = 10.0


def numbers() -> dict[str, Any]:
    made = np.random.default_rng(1)
    return {name: made.normal(size=SIZE) for name in NAMES}


def exact(names: Any) -> Any:
    return sum(np.rint(numbers()[name] * 2.0**24) for name in names) / 2.0**24


def total(server: ServerRound) -> Any:
    assert server.total_V is not None
    return server.total_V


def play(vanish: dict[str, int], seed: int) -> ServerRound:
    """Play a round whose frames come in any order and twice; step by step, the time goes on."""
    order = np.random.default_rng(seed)
    devices = {n: DeviceRound(n, FACTS, each, draws(seed)(n)) for n, each in numbers().items()}
    server = ServerRound(FACTS, NAMES, SECONDS, now=0.0)
    waiting = [device.begin() for device in devices.values()]
    for step in range(4):
        twice = [*waiting, *waiting]
        frames = [twice[place] for place in order.permutation(len(twice))]
        taken = [server.receive(each) for each in frames]
        assert sum(taken) == len(waiting)
        assert not server.receive(b"nonsense")
        sent = server.advance(now=step * SECONDS) or server.advance(now=(step + 1) * SECONDS)
        waiting = []
        for name, payload in sent.items():
            if vanish.get(name, 9) > step:
                answer = devices[name].answer(payload)
                assert answer is not None
                assert devices[name].answer(payload) is None, "it has answered that"
                waiting.append(answer)
    return server


@pytest.mark.parametrize("seed", range(6))
def test_frames_in_any_order_and_twice(seed: int) -> None:
    server = play({}, seed)
    assert server.names == frozenset(NAMES)
    assert np.array_equal(total(server), exact(NAMES))
    assert server.advance(1e9) == {}
    assert not server.receive(b"")


@pytest.mark.parametrize("step", [0, 1, 2])
def test_two_of_five_vanish_before_a_step(step: int) -> None:
    server = play({"d1": step, "d4": step}, seed=step)
    there = NAMES if step == 2 else ["d0", "d2", "d3"]
    assert server.names == frozenset(there)
    assert np.array_equal(total(server), exact(there))


def test_three_of_five_are_too_many() -> None:
    with pytest.raises(SecureError, match="2 have sent numbers, and 3 must"):
        play({"d1": 1, "d2": 1, "d4": 1}, seed=0)


def test_a_step_waits_for_its_time() -> None:
    server = ServerRound(FACTS, NAMES, SECONDS, now=5.0)
    device = DeviceRound("d0", FACTS, numbers()["d0"], draws(0)("d0"))
    assert server.receive(device.begin())
    assert server.advance(5.0 + SECONDS - 0.1) == {}
    with pytest.raises(SecureError, match="1 devices, 3 to 5 can"):
        server.advance(5.0 + SECONDS)


def test_strangers_and_other_rounds_are_not_taken() -> None:
    server = ServerRound(FACTS, NAMES, SECONDS, now=0.0)
    stranger = DeviceRound("d9", FACTS, np.zeros(SIZE), draws(0)("d9"))
    earlier = DeviceRound("d0", replace(FACTS, round=1), np.zeros(SIZE), draws(0)("d0"))
    assert not server.receive(stranger.begin())
    assert not server.receive(earlier.begin())
    device = DeviceRound("d0", FACTS, np.zeros(SIZE), draws(0)("d0"))
    assert device.answer(earlier.begin()) is None
    assert device.answer(b"") is None


def topic(way: str, name: str) -> str:
    return f"secure/{way}/{name}"


Assemblers = defaultdict[str, Assembler]


def assemblers() -> Assemblers:
    """Return one for each topic."""
    return defaultdict(lambda: Assembler(limit=1 << 20))


def arrived(connection: MqttConnection, open_: Assemblers, timeout: float) -> list[bytes]:
    """Return the frames that are whole by now."""
    found = []
    for event in connection.receive_all(timeout, most=50):
        if isinstance(event, Arrival):
            whole = open_[event.topic].offer(event.payload)
            found += [] if whole is None else [whole]
            event.acknowledge()
    return found


def take_part(broker: BrokerSettings, name: str, gone_after: int, ready: threading.Barrier) -> None:
    """Be a device, until the round is over or the device is gone after so many answers."""
    device, open_ = DeviceRound(name, FACTS, numbers()[name]), assemblers()
    with MqttConnection(broker, f"secure-{name}", [topic("down", name)]) as connection:
        ready.wait(30)
        connection.send(topic("up", name), device.begin())
        answers, deadline = 1, time.monotonic() + 60
        while answers < gone_after and time.monotonic() < deadline:
            for payload in arrived(connection, open_, 0.05):
                answer = device.answer(payload)
                if answer is not None and answers < gone_after:
                    connection.send(topic("up", name), answer)
                    answers += 1
        connection.flush(10)


def steps(frames: int, gone: dict[str, int]) -> int:
    """Return how many steps all have answered that are there for them: a busy device is."""
    each = [gone.get(name, 4) for name in NAMES]
    return sum(frames >= sum(min(answers, step) for answers in each) for step in range(1, 5))


@pytest.mark.broker
def test_over_a_broker_with_two_that_vanish(broker: BrokerSettings) -> None:
    """One after its shares, one after its numbers; the server alone sees masked frames."""
    gone = {"d1": 2, "d4": 3}
    ready = threading.Barrier(len(NAMES) + 1)
    threads = [
        threading.Thread(target=take_part, args=(broker, n, gone.get(n, 4), ready)) for n in NAMES
    ]
    for each in threads:
        each.start()
    open_, seen = assemblers(), []
    with MqttConnection(broker, "secure-server", [topic("up", "+")]) as connection:
        ready.wait(30)
        server = ServerRound(FACTS, NAMES, SECONDS, now=0.0)
        deadline = time.monotonic() + 60
        while server.total_V is None and time.monotonic() < deadline:
            for payload in arrived(connection, open_, 0.05):
                seen.append(payload)
                server.receive(payload)
            for name, payload in server.advance(steps(len(seen), gone) * SECONDS).items():
                connection.send(topic("down", name), payload)
    for each in threads:
        each.join(60)
    there = [name for name in NAMES if name != "d1"]
    assert server.names == frozenset(there)
    assert np.array_equal(total(server), exact(there))
    plain = [np.rint(each * 2.0**24).astype("<i8").tobytes() for each in numbers().values()]
    assert not any(each in payload for each in plain for payload in seen)
    assert all(wire.open_frame(payload) for payload in seen)
