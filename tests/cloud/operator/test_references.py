import pytest

from cloud.operator import references
from cloud.operator.references import NotYetError
from cloud.operator.spec import Asked
from tests.cloud.operator.examples import SETTINGS, a_generator

SERVED = a_generator({"phase": "Ready", "version": 3, "canaryVersion": 4})


def test_none_and_a_reference_are_what_they_are() -> None:
    assert references.of(None, SETTINGS, None, None) is None
    assert references.of(Asked(reference="digits"), SETTINGS, None, None) == "digits"


def test_a_name_is_the_version_of_its_channel() -> None:
    stable, canary = Asked(name="faces"), Asked(name="faces", channel="Canary")
    wanted = "triton://triton:8001/faces?version="
    assert references.of(stable, SETTINGS, None, SERVED) == f"{wanted}3"
    assert references.of(canary, SETTINGS, None, SERVED) == f"{wanted}4"


def test_a_run_holds_to_its_version_wherever_the_server_is() -> None:
    held = "triton://old:1/faces?version=2"
    asked = Asked(name="faces")
    found = references.of(asked, SETTINGS, held, SERVED)
    assert found == "triton://triton:8001/faces?version=2"
    assert references.of(asked, SETTINGS, held, None) == found


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        (None, "no such Generator"),
        (a_generator({"phase": "Pending"}), "its stable version is not served yet"),
    ],
)
def test_a_run_waits_for_its_generator(generator: object, said: str) -> None:
    with pytest.raises(NotYetError, match=said):
        references.of(Asked(name="faces"), SETTINGS, None, generator)  # type: ignore[arg-type]


def test_without_a_server_there_is_none() -> None:
    away = SETTINGS.model_copy(update={"triton": None})
    with pytest.raises(NotYetError, match="no Triton server"):
        references.of(Asked(name="faces"), away, None, SERVED)
