"""Every algorithm gives the numbers of bd597a1, where all equalled the authors' code."""

import copy
import math
from typing import Any

import pytest

from edgeloop import algorithms
from tests import real_data
from tests.parity import comparing, keeping, worlds
from tests.parity.cases import CHAOTIC, ON_HAR, ON_IMAGES, Case
from tests.parity.playing import play
from tests.parity.worlds import World

Kept = dict[str, Any]


@pytest.fixture(scope="module")
def images() -> tuple[World, Kept]:
    return worlds.images(), keeping.read("images")


@pytest.fixture(scope="module")
def har() -> tuple[World, Kept]:
    return worlds.har(real_data.place("har", "config.json")), keeping.read("har")


def told(name: str, case: Case, world: World, kept: Kept) -> list[str]:
    """Run a case; say what of it is further from the record than it may be."""
    recording = kept["cases"][name].get("kernels", kept["machine"]["kernels"])
    same = keeping.kernels() == recording
    away = comparing.differences(play(case, world), kept["cases"][name]["rounds"], case.parts)
    if name in CHAOTIC and not same:
        away = [each for each in away if not each.round and each.part != "broadcast"]
    return comparing.beyond(away, same)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_on_images(name: str, images: tuple[World, Kept]) -> None:
    assert told(name, ON_IMAGES[name], *images) == []


@pytest.mark.parametrize("name", ON_HAR)
def test_on_har(name: str, har: tuple[World, Kept]) -> None:
    assert told(name, ON_HAR[name], *har) == []


@pytest.mark.parametrize("name", ON_IMAGES)
def test_hyperparameters_are_what_they_were(name: str, images: tuple[World, Kept]) -> None:
    """New ones may come, whose defaults change no number."""
    world, kept = images
    now = keeping.hyperparameters(ON_IMAGES[name], world)
    then = kept["cases"][name]["hyperparameters"]
    assert {field: now.get(field) for field in then} == then


def test_the_images_are_those_that_were_recorded(images: tuple[World, Kept]) -> None:
    world, kept = images
    assert world.digest == kept["samples"]
    assert list(kept["cases"]) == list(ON_IMAGES)


def test_har_is_the_one_that_was_recorded(har: tuple[World, Kept]) -> None:
    world, kept = har
    assert world.digest == kept["samples"]
    assert list(kept["cases"]) == list(ON_HAR)


def test_every_algorithm_of_then_is_held_and_there() -> None:
    for cases in (ON_IMAGES, ON_HAR):
        assert len({case.algorithm for case in cases.values()}) == 23 + 7
        assert {case.algorithm for case in cases.values()} <= set(algorithms.names())


def test_what_differs_from_the_commit_says_why(images: tuple[World, Kept]) -> None:
    anew = {name for name, each in images[1]["cases"].items() if each["at"] != "bd597a1"}
    noted = {name for name, each in images[1]["cases"].items() if each["notes"]}
    assert anew <= noted


def test_differences_are_seen(images: tuple[World, Kept]) -> None:
    rounds = images[1]["cases"]["fedavg"]["rounds"]
    parts = ON_IMAGES["fedavg"].parts
    assert comparing.beyond(comparing.differences(rounds, rounds, parts), True) == []
    other = copy.deepcopy(rounds)
    other[0]["weights"]["client-01"]["head"][2] += (
        1e-5 * rounds[0]["weights"]["client-01"]["head"][0]
    )
    other[1]["correct"]["client-00"] += 1
    del other[2]["uploads"]["client-03"]
    strict = comparing.beyond(comparing.differences(other, rounds, parts), True)
    assert [sentence.split(" is ")[0] for sentence in strict] == [
        "round 0: weights/client-01/head",
        "round 0: half of the weights",  # of those that differ: the one
        "round 1: correct/client-00",
        "round 2: uploads/client-03",
        "round 2: half of the uploads",
    ]
    others = comparing.beyond(comparing.differences(other, rounds, parts), False)
    assert others == strict[3:]
    short = comparing.differences(rounds[:1], rounds, parts)
    assert [each.size for each in short] == [math.inf]


def test_other_kernels_may_move_one_client_and_not_all(images: tuple[World, Kept]) -> None:
    rounds = images[1]["cases"]["fedavg"]["rounds"]
    other = copy.deepcopy(rounds)
    for name, each in other[0]["weights"].items():
        for sketch in each.values():
            sketch[1] += (1e-2 if name == "client-02" else 1e-5) * sketch[0]
    parts = ("weights",)
    assert comparing.beyond(comparing.differences(other, rounds, parts), False) == []
    for each in other[0]["weights"].values():
        for sketch in each.values():
            sketch[1] += 1e-3 * sketch[0]
    assert comparing.beyond(comparing.differences(other, rounds, parts), False) == [
        "round 0: half of the weights is 1.0e-03 away"
    ]
