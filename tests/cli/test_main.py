import errno
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest

import edgeloop
from edgeloop.cli import main
from edgeloop.errors import ForbiddenError


def test_every_command_has_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
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
    summaries = [
        line[14:] for line in said.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    assert len(set(summaries)) == len(summaries), "each says what itself is for"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeloop {version('edgeloop')}\n"
    assert edgeloop.__version__ == version("edgeloop")
    with pytest.raises(AttributeError, match="has no attribute 'version'"):
        _ = edgeloop.version


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["simulat"]) == 2
    assert (
        capsys.readouterr().err
        == "error: simulat: there is no such command; did you mean simulate\n"
    )
    assert main.main(["-V"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: -V: there is no such option; choose one of --h"
    )
    assert main.main(["zzz"]) == 2
    assert "zzz: there is no such command; choose one of agent, " in capsys.readouterr().err
    assert main.main([""]) == 2
    assert "error: '': there is no such command" in capsys.readouterr().err


def registered(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, main.GROUP)
    monkeypatch.setattr(main, "entry_points", lambda group: [point])


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "predict", "edge.not_there:main")
    assert main.main(["predict"]) == 2
    said = capsys.readouterr().err
    assert "which is not installed; pip install 'edgeloop[edge-infer]'" in said


def test_ctrl_c_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "wait", "tests.cli.test_main:interrupted")
    assert main.main(["wait"]) == 130
    assert "run the same command again to go on" in capsys.readouterr().err


def test_bad_input_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "ask", "tests.cli.test_main:refusing")
    assert main.main(["ask"]) == 2
    assert capsys.readouterr().err == "error: broker: says no; ask again\n"


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (
            "shut",
            2,
            "error: out/x: cannot be read or written (Permission denied); fix its rights, or",
        ),
        (
            "full",
            75,
            "error: the disk: cannot be written (No space left on device); free space there",
        ),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    code: int,
    said: str,
) -> None:
    registered(monkeypatch, kind, f"tests.cli.test_main:{kind}")
    assert main.main([kind]) == code
    assert capsys.readouterr().err.startswith(said)


def test_what_is_no_files_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "hang-up", "tests.cli.test_main:hang_up")
    with pytest.raises(ConnectionResetError):
        main.main(["hang-up"])


def test_ctrl_c_while_a_command_is_loaded(tmp_path: Path) -> None:
    """That takes seconds, and an exception within numpy's import would become an ImportError."""
    (tmp_path / "slow.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    code = (
        "import importlib.metadata, signal, sys; from edgeloop.cli import main as command;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "point = importlib.metadata.EntryPoint('slow', 'slow:main', command.GROUP);"
        "command.entry_points = lambda group: [point]; sys.exit(command.main(['slow']))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 20
    assert process.returncode == 130
    assert said == "error: stopped by Ctrl-C; run the same command again to go on\n"


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    code = (
        "from edgeloop.cli import main as command; command._print_all_names(); print('caf\\udce9')"
    )
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    made = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert made.stdout == b"caf\\udce9\n"


def interrupted(_: list[str]) -> int:
    raise KeyboardInterrupt


def shut(_: list[str]) -> int:
    raise PermissionError(errno.EACCES, "Permission denied", "out/x")


def full(_: list[str]) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def hang_up(_: list[str]) -> int:
    raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def refusing(_: list[str]) -> int:
    raise ForbiddenError("broker", "says no", "ask again")


def test_the_command_itself_imports_no_torch() -> None:
    code = (
        "import sys, edgeloop.cli.main"
        "; assert not {'torch', 'typer', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_imports_no_command() -> None:
    """Nor what they need: it reads the first line of their files."""
    code = (
        "import sys; from edgeloop.cli import main; main.main(['--help'])"
        "; doors = {'cloud', 'edge', 'simulations', 'typer', 'pydantic', 'numpy', 'torch'}"
        "; assert not doors & set(sys.modules), doors & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_tells_of_a_command_of_another_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "theirs", "their_package.not_there:main")
    assert main.main(["--help"]) == 0
    assert "  theirs      (cannot be found)\n" in capsys.readouterr().out
    assert main.main(["theirs"]) == 2
    assert "theirs: needs their_package, which is not installed; ask" in capsys.readouterr().err
