"""Against a server that is not there; `tests/cloud/generator_service` has real ones."""

import pytest

from edgeloop.errors import GeneratorError, UnavailableError
from edgeloop.generators.triton import TritonGenerator, load_version
from edgeloop.runtime.ports import free_port


def test_nobody_listens() -> None:
    now, pauses, heard = [0.0], list[float](), list[str | None]()

    def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 6))
        now[0] += seconds

    reference = f"triton://127.0.0.1:{free_port()}/digits"
    with pytest.raises(UnavailableError) as caught:
        TritonGenerator(
            reference,
            patience_seconds=2.0,
            watch=heard.append,
            clock=lambda: now[0],
            sleep=sleep,
        )
    assert pauses == [0.1, 0.2, 0.4, 0.8, 0.5]
    assert len(heard) == 6
    assert all(text is not None and "failed to connect" in text for text in heard)
    assert caught.value.field == reference
    assert caught.value.problem.startswith("has given no answer for 2 s (failed to connect")
    assert caught.value.remedy.startswith("start it with `edgeloop generator serve`")


def test_a_wrong_reference_is_not_tried() -> None:
    with pytest.raises(GeneratorError, match=r"^port of 'triton://h/digits': is missing or wrong"):
        TritonGenerator("triton://h/digits")


def test_nobody_to_take_it_up() -> None:
    with pytest.raises(UnavailableError, match="does not take up digits-mapping"):
        load_version(f"triton://127.0.0.1:{free_port()}/digits", 1, "00ff")
