import pytest

from cloud.operator import references
from cloud.operator.references import NotReadyError
from cloud.operator.spec import AskedBase, GeneratorReference
from tests.cloud.operator.examples import SETTINGS, a_base, a_generator

SERVED = a_generator({"phase": "Ready", "version": 3, "canaryVersion": 4})


def test_none_and_a_reference_are_what_they_are() -> None:
    assert references.resolve_reference(None, SETTINGS, None, None) is None
    assert (
        references.resolve_reference(GeneratorReference(reference="digits"), SETTINGS, None, None)
        == "digits"
    )


def test_a_name_is_the_version_of_its_channel() -> None:
    stable, canary = (
        GeneratorReference(name="faces"),
        GeneratorReference(name="faces", channel="Canary"),
    )
    wanted = "triton://triton:8001/faces?version="
    assert references.resolve_reference(stable, SETTINGS, None, SERVED) == f"{wanted}3"
    assert references.resolve_reference(canary, SETTINGS, None, SERVED) == f"{wanted}4"


def test_a_run_holds_to_its_version_wherever_the_server_is() -> None:
    held = "triton://old:1/faces?version=2"
    asked = GeneratorReference(name="faces")
    found = references.resolve_reference(asked, SETTINGS, held, SERVED)
    assert found == "triton://triton:8001/faces?version=2"
    assert references.resolve_reference(asked, SETTINGS, held, None) == found


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        (None, "no such Generator"),
        (a_generator({"phase": "Pending"}), "its stable version is not served yet"),
    ],
)
def test_a_run_waits_for_its_generator(generator: object, said: str) -> None:
    with pytest.raises(NotReadyError, match=said):
        references.resolve_reference(GeneratorReference(name="faces"), SETTINGS, None, generator)  # type: ignore[arg-type]


def test_without_a_server_there_is_none() -> None:
    away = SETTINGS.model_copy(update={"triton": None})
    with pytest.raises(NotReadyError, match="no Triton server"):
        references.resolve_reference(GeneratorReference(name="faces"), away, None, SERVED)


ONE, TWO = "1" * 64, "2" * 64
KNOWN = a_base(
    {"version": 3, "identity": ONE, "canaryVersion": 4, "canaryIdentity": TWO},
    version=3,
    canary={"source": "faces-2", "version": 4},
)


def test_a_base_is_the_version_and_the_very_file_of_its_channel() -> None:
    wanted = "http://faces-base.plant.svc:9466/faces?version="
    for channel, rest in (("Stable", f"3&sha256={ONE}"), ("Canary", f"4&sha256={TWO}")):
        asked = AskedBase(name="faces", channel=channel)  # type: ignore[arg-type]
        assert references.base_of(asked, SETTINGS, "plant", None, KNOWN) == wanted + rest
    assert references.base_of(None, SETTINGS, "plant", None, None) is None
    named = AskedBase(reference="http://h/b")
    assert references.base_of(named, SETTINGS, "plant", None, None) == "http://h/b"


def test_a_run_holds_to_its_base_whatever_is_served() -> None:
    held = f"http://old:1/faces?version=2&sha256={TWO}"
    found = references.base_of(AskedBase(name="faces"), SETTINGS, "plant", held, KNOWN)
    assert found == f"http://faces-base.plant.svc:9466/faces?version=2&sha256={TWO}"
    assert references.base_of(AskedBase(name="faces"), SETTINGS, "plant", held, None) == found


@pytest.mark.parametrize(
    ("base", "channel", "reason", "said"),
    [
        (None, "Stable", "NoSuchBase", "no such Base in this namespace; create it"),
        (a_base(), "Canary", "NoCanary", "it has no canary; give it one"),
        (a_base(), "Stable", "BaseNotServed", "is not served yet; see `kubectl get bases.edge"),
        (a_base({"lastError": "no"}), "Stable", "BaseNotServed", "is not served yet; no"),
    ],
)
def test_a_run_waits_for_its_base(base: object, channel: str, reason: str, said: str) -> None:
    asked = AskedBase(name="faces", channel=channel)  # type: ignore[arg-type]
    with pytest.raises(NotReadyError, match=said) as caught:
        references.base_of(asked, SETTINGS, "plant", None, base)  # type: ignore[arg-type]
    assert caught.value.reason == reason
