"""The study: for every algorithm, number of images and seed one upload, and the attack on it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from edgeloop import algorithms
from edgeloop.data import Federation
from edgeloop.models.split import SplitModel
from edgeloop.runtime import atomic_files
from edgeloop.seeds import derive
from simulations.privacy import attack_result, victims
from simulations.privacy.attack_result import AttackResult
from simulations.privacy.exposure import check_private, observe_upload, upload_kind
from simulations.privacy.inversion import SearchSettings, invert
from simulations.privacy.settings import AttackSettings
from simulations.results.folder import SUMMARY, claim_study
from simulations.results.seed_statistics import describe_values

Watch = Callable[[int, str], None]


class Key(NamedTuple):
    """Which attack of a study."""

    algorithm: str
    samples: int
    seed: int

    @property
    def file(self) -> str:
        """Return the name of the file of its case."""
        return f"{self.algorithm}-{self.samples}-seed-{self.seed}.safetensors"


@dataclass(frozen=True)
class Study:
    """What is attacked.

    Attributes:
        settings: how.
        algorithms: whose uploads.
        samples: images in a batch, each of these numbers.
        seeds: how many; each has weights, victims and a start of the search of its own.
        folder: for everything.
    """

    settings: AttackSettings
    algorithms: tuple[str, ...]
    samples: tuple[int, ...]
    seeds: int
    folder: Path

    def attacks(self) -> list[Key]:
        """Return every attack, in order."""
        return [
            Key(name, count, seed)
            for name in self.algorithms
            for count in self.samples
            for seed in range(self.seeds)
        ]


def run(study: Study, watch: Watch) -> dict[str, Any]:
    """Attack what is missing; return the content of summary.json, and write it.

    Args:
        study: what is attacked.
        watch: called with how many attacks are done, and a word on the last one.

    Raises:
        InputError: if the data, a setting or the folder is wrong.
    """
    federation = _checked(study)
    claim_study(study.folder, study.settings.model_dump(mode="json"))
    torch.set_num_threads(1)
    cases = {}
    for key, found in _cases(study, federation):
        cases[key] = found
        watch(len(cases), f"{key.algorithm}, {key.samples}: {found.facts['psnr']:.1f} dB")
    summary = summarize(study, cases)
    atomic_files.write_json(study.folder / SUMMARY, summary)
    return summary


def _checked(study: Study) -> Federation:
    """Open the data, and refuse what cannot be attacked before the folder is made."""
    settings = study.settings
    federation = settings.federation()
    settings.build_model(federation, seed=0)
    for name in study.algorithms:
        one_class = not upload_kind(name).of_weights
        algorithms.config(name, **settings.algorithm_options(name, federation, 0))
        algorithms.check_same_architecture(
            name, [settings.model], **settings.algorithm_options(name, federation, 0)
        )
        if settings.privacy is not None:
            options = settings.algorithm_options(name, federation, 0)
            check_private(name, algorithms.load(name, None, **options))
        victims.draw(federation.client(settings.client).train, max(study.samples), one_class, 0)
    return federation


def attack_results(study: Study) -> dict[Key, AttackResult]:
    """Return the cases of a study that has run."""
    return {key: attack_result.read(study.folder / key.file) for key in study.attacks()}


def _cases(study: Study, federation: Federation) -> Iterator[tuple[Key, AttackResult]]:
    for key in study.attacks():
        path = study.folder / key.file
        if not path.exists():
            attack_result.write(path, attack(study.settings, federation, key))
        yield key, attack_result.read(path)


def attack(settings: AttackSettings, federation: Federation, key: Key) -> AttackResult:
    """Let a client upload, search for its images, and compare.

    Raises:
        DataError: if the client has too few images.
        ModelError: if the model does not fit.
    """
    begun, shared = time.perf_counter(), upload_kind(key.algorithm)
    train = federation.client(settings.client).train
    drawn = victims.draw(
        train, key.samples, not shared.of_weights, derive(key.seed, "victims", key.samples)
    )
    model = _model(settings, federation, drawn, key.seed)
    stranger = None
    if settings.knowledge == "surrogate":
        stranger = _model(settings, federation, drawn, derive(key.seed, "surrogate"))
    options = settings.algorithm_options(key.algorithm, federation, key.seed)
    secret = settings.secret(derive(key.seed, key.algorithm, key.samples))
    exposed = observe_upload(key.algorithm, model, stranger, drawn.batch, options, secret)
    prior = settings.prior(shared.of_weights)
    search = SearchSettings(settings.objective, settings.iterations, prior)
    start = derive(key.seed, "start")
    found = invert(
        settings.known_to_attacker(exposed), federation.shape, federation.classes, search, start
    )
    return attack_result.measure_attack(drawn, found, shared, time.perf_counter() - begun)


def _model(
    settings: AttackSettings, federation: Federation, drawn: victims.Victims, seed: int
) -> SplitModel:
    model = settings.build_model(federation, seed)
    victims.train(model, drawn, settings.epochs, seed)
    return model


def summarize(study: Study, found: Mapping[Key, AttackResult]) -> dict[str, Any]:
    """Return what all attacks say together; docs/privacy.md defines every key."""
    return {
        "settings": study.settings.model_dump(mode="json"),
        "seeds": study.seeds,
        "attacks": [
            _row(name, count, [found[Key(name, count, seed)] for seed in range(study.seeds)])
            for name in study.algorithms
            for count in study.samples
        ],
    }


def _row(name: str, count: int, found: Sequence[AttackResult]) -> dict[str, Any]:
    facts = [each.facts for each in found]
    return {
        "algorithm": name,
        "uploads": upload_kind(name).part,
        "samples": count,
        **{key: describe_values([each[key] for each in facts]) for key in attack_result.MEASURES},
        "labels": describe_values([each["labels"] for each in facts]),
    }
