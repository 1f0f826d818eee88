"""A settings model's fields as a command's options."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field

from edgeloop.cli import console, options
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Option, Settings


def pair(words: list[str]) -> dict[str, str]:
    return dict(word.split("=") for word in words)


class Bread(Settings):
    """What is baked."""

    flour: str
    """Flour: rye
    or wheat."""
    loaves: Annotated[int, Field(ge=1, le=9)] = 2
    """Number of loaves."""
    oven_heat: Annotated[float, Field(gt=0)] | None = None
    """Heat of the oven."""
    crust: Literal["soft", "hard"] = "soft"
    """Crust: soft or hard."""
    salted: bool = True
    """Add salt."""
    sliced: bool = False
    """Slice it."""
    into: Path | None = None
    """A basket."""
    bakers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of bakers, or auto."""
    toppings: Annotated[
        dict[str, str],
        Field(default_factory=dict),
        Option(name="--with", several=True, parse=pair),
    ]
    """A topping: key=value."""
    guests: Annotated[tuple[str, ...], Option(several=True)] = ()
    """Who eats it."""
    shop: Annotated[str | None, Option(environment="BREAD_SHOP")] = None
    """Where it is sold."""
    minutes: Annotated[int, Option(unsaid=True)] = 50
    """Minutes. [default: by the flour]"""


@options.of(Bread, "bake")
def bake(
    bread: Bread, note: Annotated[str, typer.Option(help="A word beside it.")] = "none"
) -> None:
    """Bake."""
    console.say(f"{bread.model_dump(mode='json')} {note}")


@options.of(
    Bread,
    "toast",
    only=("flour", "loaves", "crust", "sliced"),
    omit=("sliced",),
    changes={
        "flour": Option(positional=True),
        "loaves": Option(default=3, help="Number of slices."),
        "crust": Option(required=True),
    },
    prefix="TOASTER_",
)
def toast(bread: Bread) -> None:
    """Toast."""
    console.say(f"{bread.flour} {bread.loaves} {bread.crust} {bread.sliced}")


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert console.run(bake, "bake", words) == 0
    return capsys.readouterr().out


def test_what_is_not_given_is_the_models_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["--flour", "rye"], capsys) == (
        f"{Bread.model_validate({'flour': 'rye'}).model_dump(mode='json')} none\n"
    )


def test_every_kind_of_setting_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--flour", "rye", "--loaves", "4", "--oven-heat", "1.5", "--crust", "hard"]
    words += ["--no-salted", "--sliced", "--into", "a/b", "--bakers", "3", "--minutes", "9"]
    words += ["--with", "seed=poppy", "--with", "oil=olive", "--guests", "a", "--guests", "b"]
    found = said([*words, "--note", "warm"], capsys)
    assert found == (
        "{'flour': 'rye', 'loaves': 4, 'oven_heat': 1.5, 'crust': 'hard', 'salted': False,"
        " 'sliced': True, 'into': 'a/b', 'bakers': 3, 'toppings': {'seed': 'poppy', 'oil':"
        " 'olive'}, 'guests': ['a', 'b'], 'shop': None, 'minutes': 9} warm\n"
    )


def test_the_help_is_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(said(["--help"], capsys).split())
    for each in ("Flour: rye or wheat.", "Number of loaves. [default: 2]", "Slice it.", "--with"):
        assert each in text
    assert "Minutes. [default: by the flour] " in text
    assert "--salted / --no-salted" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--loaves", "0"], "--loaves: 0 is too small; give 1 or more"),
        (["--loaves", "ten"], "--loaves: 'ten' is no whole number"),
        (["--oven-heat", "-1"], "--oven-heat: -1.0 is too small; give more than 0"),
        (["--crust", "hrad"], "--crust: there is no 'hrad'; did you mean hard"),
        (["--bakers", "0"], "--bakers: '0' cannot be used; give 1 or more"),
        (["--into", ""], "--into: names no file and no folder"),
    ],
)
def test_a_wrong_value_names_its_option(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert console.run(bake, "bake", ["--flour", "rye", *words]) == 2
        found = capsys.readouterr().err.removeprefix("error: ")
    except ConfigError as error:
        found = str(error)
    assert found.startswith(told)


def test_a_command_has_some_settings_and_words_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert console.run(toast, "toast", ["rye", "--crust", "hard"]) == 0
    assert capsys.readouterr().out == "rye 3 hard False\n"
    assert console.run(toast, "toast", ["--help"]) == 0
    text = capsys.readouterr().out
    assert "Number of slices." in text
    assert not {"--sliced", "--oven-heat", "--flour"} & set(text.split())
    assert console.run(toast, "toast", ["rye"]) == 2
    assert "--crust: is missing" in capsys.readouterr().err


def test_the_environment_is_read_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOASTER_LOAVES", "7")
    monkeypatch.setenv("TOASTER_CRUST", "soft")
    assert console.run(toast, "toast", ["rye"]) == 0
    assert capsys.readouterr().out == "rye 7 soft False\n"


@pytest.mark.parametrize(("given", "there"), [("Rye & Co", "'Rye & Co'"), ("", "None")])
def test_a_setting_may_have_a_variable_of_its_own(
    given: str,
    there: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BREAD_SHOP", given)
    assert f"'shop': {there}," in said(["--flour", "rye"], capsys)
    assert "'shop': 'mine'," in said(["--flour", "rye", "--shop", "mine"], capsys)


@options.of(Bread, "weigh", only=("loaves", "oven_heat", "crust", "into", "bakers"), ranges=True)
def weigh(bread: Bread) -> None:
    """Weigh."""


def test_help_shows_words_paths_and_where_asked_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(weigh, "weigh", ["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--crust <soft|hard>" in shown
    assert "--into <path>" in shown
    assert "--bakers <str>" in shown, "a number, or a word"
    assert "[default: 2; 1<=x<=9]" in shown
    assert console.run(bake, "bake", ["--help"]) == 0
    assert "x<=9" not in capsys.readouterr().out
