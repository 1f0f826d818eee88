from pathlib import Path

import pytest

from edgeloop import algorithms
from edgeloop.errors import ConfigError
from simulations.settings import RunSettings, parse_options, parse_workers


def test_options_are_toml_scalars_or_bare_words() -> None:
    words = ["pull=1.5", "stale = false", "local_epochs=3", "distance=euclidean", 'margin="x y"']
    assert parse_options(words) == {
        "pull": 1.5,
        "stale": False,
        "local_epochs": 3,
        "distance": "euclidean",
        "margin": "x y",
    }


@pytest.mark.parametrize(
    "word", ["pull", "=1", "pull=[1]", "pull=1 2", "pull=1979-05-27", "seed=1"]
)
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"^set"):
        parse_options([word])


def test_the_option_overrides_the_variant(settings: RunSettings) -> None:
    chosen = settings.model_copy(update={"variant": "paper", "options": {"pull": 3.0}})
    found = algorithms.config(chosen.algorithm, **chosen.algorithm_options(classes=4))
    assert (found.pull, found.distance, found.classes) == (3.0, "euclidean", 4)


def test_workers_are_a_number_or_auto() -> None:
    assert (parse_workers("3"), parse_workers("auto")) == (3, "auto")
    with pytest.raises(ConfigError, match="workers"):
        parse_workers("0")


def test_a_divided_folder_keeps_its_clients(settings: RunSettings) -> None:
    assert len(settings.federation()) == 3
    with pytest.raises(ConfigError, match="clients: 4 asked for"):
        settings.model_copy(update={"clients": 4}).federation()


def test_a_partition_divides_anew(settings: RunSettings) -> None:
    anew = settings.model_copy(update={"partition": "iid", "clients": 4})
    assert len(anew.federation()) == 4


def test_the_folder_is_named_after_algorithm_data_and_seed(settings: RunSettings) -> None:
    assert settings.folder() == Path("runs/fedtgp-tiny-0")
