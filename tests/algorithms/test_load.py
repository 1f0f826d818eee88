from typing import Any

import pytest

from edgeloop import algorithms
from edgeloop.errors import ConfigError
from simulations.settings import parse_options


def test_every_algorithm_has_a_card_and_builds_in_every_variant() -> None:
    assert {"fedavg", "fedktl", "fedproto", "fedtgp", "local"} <= set(algorithms.built_in())
    for name in algorithms.built_in():
        info = algorithms.info(name)
        assert info.title.lower().replace("-", "").replace(" ", "") == name.replace("-", "")
        for variant in {"released", *info.variants}:
            facts = algorithms.supported_options(name, classes=3, width=4)
            algorithms.load(name, **facts, **algorithms.variant_options(name, variant))


def rate(name: str, variant: str) -> float:
    options = algorithms.variant_options(name, variant)
    facts = algorithms.supported_options(name, classes=3, width=4)
    return float(algorithms.config(name, **facts, **options).local_lr)


def test_learning_rates_are_the_papers() -> None:
    pfllib = (
        *("apfl", "ditto", "fedala", "fedavg", "fedcp", "feddbe", "fedper", "fedprox", "fedrep"),
        *("gpfl", "lgfedavg", "perfedavg"),
    )
    htfl = (
        *("feddistill", "fedgen", "fedgh", "fedkd", "fedktl", "fedorgp", "fedproto", "fedtgp"),
        *("fml", "local", "tinyproto"),
    )
    assert {rate(name, "released") for name in (*pfllib, *htfl)} == {0.01}
    assert {rate(name, "pfllib") for name in pfllib} == {0.005}
    assert {rate(name, "paper") for name in ("fedala", "gpfl")} == {0.005}
    assert {rate(name, "paper") for name in ("fedproto", "fedtgp")} == {0.01}
    resnet, har = (
        algorithms.variant_options("gpfl", f"pfllib-{each}") for each in ("resnet18", "har")
    )
    assert resnet == {"local_lr": 0.1, "pull": 0.0001, "decay": 0.0}
    assert har == {"local_lr": 0.01, "decay": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local_lr": 0.0}, "local_lr: fedtgp: 0.0 is too small; give more than 0"),
        ({"local_lr": "fast"}, "local_lr"),
        ({"server_epochs": 0}, "server_epochs"),
        (
            {"margin": "wide"},
            "margin: fedtgp: there is no 'wide'; choose one of nearest, all",
        ),
        ({"sever_epochs": 3}, "no such hyperparameter; did you mean server_epochs"),
        ({"pull": -1}, "pull"),
        ({"pull": float("nan")}, "pull"),
        ({"local_lr": float("inf")}, "local_lr"),
    ],
)
def test_wrong_hyperparameters_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        algorithms.load("fedtgp", classes=3, width=4, **options)


@pytest.mark.parametrize("name", [n for n in algorithms.built_in() if n != "local"])
def test_an_unknown_one_is_told_what_can_be_set(name: str) -> None:
    with pytest.raises(ConfigError, match="no such hyperparameter") as caught:
        algorithms.config(name, zzz=3)
    listed = caught.value.remedy.removeprefix("it has ").split(", ")
    assert listed
    for key in listed:
        parse_options([f"{key}=1"])
    with pytest.raises(ConfigError, match="it has form, own, second"):
        algorithms.config("class-statistics", dimz=3)


def test_unknown_names() -> None:
    with pytest.raises(
        ConfigError, match=r"no 'fedsgd'; choose one of .*fedktl, .*fedproto, .*fedtgp, .*local"
    ):
        algorithms.load("fedsgd")
    with pytest.raises(ConfigError, match="no variant 'old'; choose one of paper, released"):
        algorithms.variant_options("fedtgp", "old")
