import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from edgeloop import command
from edgeloop.errors import BrokerError


def test_every_command_has_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in (
        "agent",
        "aggregator",
        "algorithms",
        "data",
        "demo",
        "generator",
        "partition",
        "predict",
        "report",
        "simulate",
        "up",
    ):
        (line,) = [line for line in said.splitlines() if line.strip().startswith(f"{name} ")]
        assert line.endswith(".")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("edgeloop 0.")


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["simulat"]) == 2
    assert "simulat: there is no such command; choose one of" in capsys.readouterr().err


def registered(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, command.GROUP)
    monkeypatch.setattr(command, "entry_points", lambda group: [point])


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "predict", "edge.not_there:main")
    assert command.main(["predict"]) == 2
    said = capsys.readouterr().err
    assert "which is not installed; pip install 'edgeloop[edge-infer]'" in said


def test_ctrl_c_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "wait", "tests.test_command:interrupted")
    assert command.main(["wait"]) == 130
    assert "run the same command again to go on" in capsys.readouterr().err


def test_bad_input_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "ask", "tests.test_command:refusing")
    assert command.main(["ask"]) == 2
    assert capsys.readouterr().err == "error: broker: says no; ask again\n"


def interrupted(_: list[str]) -> int:
    raise KeyboardInterrupt


def refusing(_: list[str]) -> int:
    raise BrokerError("broker", "says no", "ask again")


def test_the_command_itself_imports_no_torch() -> None:
    code = (
        "import sys, edgeloop.command; assert not {'torch', 'typer', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
