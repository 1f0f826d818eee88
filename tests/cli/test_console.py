from collections.abc import Callable
from typing import Annotated

import pytest
import typer

from edgeloop.cli import console
from edgeloop.errors import GeneratorError


def greet(name: str, times: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Say hello."""
    console.say(f"hello {name} " * times)


def stopped() -> None:
    raise KeyboardInterrupt


def refused() -> None:
    raise GeneratorError("a", "is wrong", "fix it")


def failed() -> None:
    raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "greet": greet,
    "stopped": stopped,
    "refused": refused,
    "failed": failed,
}


def test_one_of_many_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run_many(COMMANDS, "demo", ["greet", "you", "--times", "2"]) == 0
    assert capsys.readouterr().out == "hello you hello you \n"


@pytest.mark.parametrize("words", [[], ["great"], ["greet"], ["greet", "you", "--times", "0"]])
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run_many(COMMANDS, "demo", words) == 2
    captured = capsys.readouterr()
    assert "edgeloop demo" in captured.out + captured.err


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
