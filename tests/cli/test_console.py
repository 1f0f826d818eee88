import json
from collections.abc import Callable
from typing import Annotated, Literal

import pytest
import typer

from cloud.stack.command import OutputLines
from edgeloop.cli import console, main
from edgeloop.errors import GeneratorError


def greet(
    name: str,
    times: Annotated[int, typer.Option(min=1, max=9)] = 1,
    loud: Annotated[bool, typer.Option("--loud")] = False,
    tone: Literal["dry", "warm"] = "dry",
    pitch: float = 1.0,
) -> None:
    """Say hello."""
    console.say(f"hello {name} " * times)


def stopped() -> None:
    raise KeyboardInterrupt


def refused() -> None:
    raise GeneratorError("a", "is wrong", "fix it")


def sized(max_size: int = 1) -> None:
    raise GeneratorError("max_size", "is wrong", "fix it")


def failed() -> None:
    raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "greet": greet,
    "stopped": stopped,
    "refused": refused,
    "failed": failed,
    "sized": sized,
}


def test_one_of_many_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run_many(COMMANDS, "demo", ["greet", "you", "--times", "2"]) == 0
    assert capsys.readouterr().out == "hello you hello you \n"


def test_no_word_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run_many(COMMANDS, "demo", []) == 2
    assert "edgeloop demo" in capsys.readouterr().err


def test_the_help_of_several_says_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run_many(COMMANDS, "demo", ["--help"], "Greets, stops and fails.") == 0
    assert "Greets, stops and fails." in capsys.readouterr().out


def put(
    into: str,
    what: Annotated[list[str], typer.Argument(metavar="THING")],
    under: Annotated[str, typer.Argument()] = "",
) -> None:
    """Put things away."""


def test_the_usage_line_names_words_in_capitals(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(put, "put", ["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Usage: edgeloop put [OPTIONS] INTO THING... [UNDER]\n")
    assert [line.split()[0] for line in text.split("Arguments:")[1].splitlines()[1:4]] == [
        *("INTO", "THING", "UNDER")
    ]
    assert console.run_many(COMMANDS, "demo", ["greet", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: edgeloop demo greet [OPTIONS] NAME\n")


SEE = "see `edgeloop demo greet --help`"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["great"], "great: there is no such command; did you mean greet"),
        (["zzz"], "zzz: there is no such command; choose one of greet, stopped, refused"),
        (["greet"], f"NAME: is missing; give it, or {SEE}"),
        (["greet", "a", "b"], f"b: is more than the command takes; leave it out, or {SEE}"),
        (["greet", "you", "--times", "0"], "--times: 0 is too small; give 1 or more"),
        (["greet", "you", "--times", "9" * 9], "--times: 999999999 is too large; give at most 9"),
        (["greet", "you", "--times", "two"], "--times: 'two' is no whole number; give a whole nu"),
        (["greet", "you", "--times"], "--times: has no value; give one behind it, or see `edge"),
        (["greet", "you", "--tims", "2"], "--tims: there is no such option; did you mean --times"),
        (["greet", "you", "--zzz"], f"--zzz: there is no such option; {SEE}"),
        (["greet", "you", "--loud=1"], "--loud: takes no value; give --loud alone"),
        (["greet", "you", "--tone", "drry"], "--tone: there is no 'drry'; did you mean dry"),
        (["greet", "you", "--tone", "zzz"], "--tone: there is no 'zzz'; choose one of dry, warm"),
        (["greet", "you", "--pitch", "x"], "--pitch: 'x' is no number; give a number"),
    ],
)
def test_wrong_usage_is_2_and_one_sentence(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.run_many(COMMANDS, "demo", words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {told}")


def test_an_error_of_a_parameter_names_its_option() -> None:
    with pytest.raises(GeneratorError, match=r"^--max-size: is wrong; fix it$"):
        console.run_many(COMMANDS, "demo", ["sized"])


def test_an_exit_code_is_kept() -> None:
    assert console.run_many(COMMANDS, "demo", ["failed"]) == 1


@pytest.mark.parametrize(
    ("word", "error"), [("stopped", KeyboardInterrupt), ("refused", GeneratorError)]
)
def test_a_stop_and_bad_input_reach_the_caller(word: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        console.run_many(COMMANDS, "demo", [word])


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("working")
    assert capsys.readouterr().err == "working\n"


HOSTILE = "\x1b[31mred\x1b[0m\r\x9b1m \u202e[/ok] [link=http://evil]x[/link]"


def test_a_table_shows_a_peers_words_as_they_are_and_obeys_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither the terminal nor rich does what a device's reason or a class's name says."""
    console.table(HOSTILE, (HOSTILE,), [(HOSTILE,), ("[/]",)])
    shown = capsys.readouterr().out
    assert shown.count("[/ok] [link=http://evil]x[/link]") == 3
    assert r"\x1b[31mred" in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_an_error_is_one_line_whatever_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["report", f"{HOSTILE}\nno"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert r"red\x1b[0m" in line


def test_a_stack_shows_what_clients_call_themselves_on_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    OutputLines().write("broker", f"New client connected as {HOSTILE}")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()


def test_lines_obey_no_peer_and_stay_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = json.dumps({"reason": HOSTILE}, ensure_ascii=False)
    console.say(f"a\tb\n{words}")
    console.note(HOSTILE)
    shown = capsys.readouterr()
    assert shown.out.startswith("a\tb\n")
    assert json.loads(shown.out.splitlines()[1]) == {"reason": HOSTILE}
    lines = [*shown.out.splitlines()[1:], *shown.err.splitlines()]
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 2
