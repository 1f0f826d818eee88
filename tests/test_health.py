import pytest

from edge.agent import sensors
from edgeloop.health import BOUNDS, Health, told


def test_what_is_known_arrives_and_what_is_not_is_none() -> None:
    assert Health(0.5, None, 41.25).notes() == {
        "battery_ratio": "0.500",
        "temperature_celsius": "41.250",
    }
    assert told(Health(0.5, None, 41.25).notes()) == Health(0.5, None, 41.25)
    assert told({"traceparent": "x"}) == Health()


@pytest.mark.parametrize("text", ["", "nan", "inf", "1.01", "-0.1", "warm", "9" * 5000])
def test_a_reading_that_cannot_be_is_none(text: str) -> None:
    found = told({"battery_ratio": text, "cpu_ratio": "0.25"})
    assert found.cpu_ratio == 0.25
    assert found.battery_ratio is None


def test_this_machine_is_well() -> None:
    first = sensors.reading()
    assert first.cpu_ratio is not None, "every machine has a processor"
    for name, value in first.notes().items():
        lowest, highest = BOUNDS[name]
        assert lowest <= float(value) <= highest
