import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from edgeloop.runtime import logs

log = logging.getLogger("edgeloop.somewhere")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_tells_its_facts_and_those_of_the_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logs.add_context(task="cats", device="all")
    log.info("%s: %d bytes\nand more", "press-1", 7, extra={"device": "press-1", "round": 2})
    log.debug("unheard")
    log.warning("ß", extra={"unknown": 1, "accuracy": None})
    first, second = lines(capsys)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "edgeloop.somewhere",
        "message": "press-1: 7 bytes\nand more",
        "task": "cats",
        "device": "press-1",
        "round": 2,
    }
    assert second["message"] == "ß"
    assert (second["device"], second["accuracy"]) == ("all", None)
    assert "unknown" not in second


def test_an_error_is_on_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    try:
        int("many")
    except ValueError:
        log.exception("failed")
    (line,) = lines(capsys)
    assert line["level"] == "error"
    assert line["error"].startswith("Traceback")
    assert line["error"].endswith("'many'")


def test_plain_lines_have_no_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.add_context(task="cats")
    log.info("hello", extra={"round": 2})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO hello")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_nobody_forges_a_line(form: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form)
    log.warning("dropped what %s sent", "x\n2026-01-01 CRITICAL lost\x1b[2J\x9b2J\u2028\ud800")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "x\\n2026-01-01 CRITICAL lost\\" in line


@pytest.mark.parametrize("form", ["plain", "json"])
def test_nobody_fills_a_line(form: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form)
    log.warning("dropped what %s sent", "x" * 10_000_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 5000
    assert " characters)" in line


def test_an_error_stays_readable(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("plain")
    try:
        int("many")
    except ValueError:
        log.exception("failed")
    first, *error = capsys.readouterr().err.splitlines()
    assert first.endswith("ERROR failed")
    assert error[0].startswith("Traceback")
