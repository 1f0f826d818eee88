"""What a task agrees on before it begins: its contract, and the generator that it is bound to."""

import hashlib
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud.aggregator.settings import TaskSettings
from edgeloop import algorithms, bases, generators
from edgeloop.algorithm import Algorithm
from edgeloop.bases import manifest, placing, remote, sending
from edgeloop.bases.reference import is_one
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError
from edgeloop.generator import Generator
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.protocol.task import Contract
from edgeloop.secure.server import summing_of

log = logging.getLogger(__name__)


def make_contract(
    settings: TaskSettings, generator: Generator | None = None, base: Base | None = None
) -> Contract:
    """Return the contract of a new run of a task, bound to its generator or base if it has one.

    Raises:
        ConfigError: if it asks for a robust rule that its algorithm does not take.
    """
    variant = algorithms.variant_options(settings.algorithm, settings.variant)
    bound = {
        **algorithms.generator_options(settings.algorithm, generator),
        **algorithms.base_options(settings.algorithm, base),
    }
    same = set(TaskSettings.model_fields) & set(Contract.model_fields)
    return Contract(
        task=settings.name,
        run=uuid.uuid4().hex,
        options={**variant, **settings.hyperparameters, **bound},
        devices=settings.cohort.devices,
        admit=settings.cohort.admit,
        robust=robust_rule(settings),
        secure=settings.cohort.in_a_sum,
        **{name: getattr(settings, name) for name in same},
    )


def robust_rule(settings: TaskSettings) -> RobustRule:
    """Return a task's rule against forged uploads.

    Raises:
        ConfigError: if its algorithm does not take it.
    """
    if settings.cohort.secure:
        return "none"  # which compares nothing: nobody sees single uploads
    try:
        return algorithms.robust_rule(settings.algorithm, settings.cohort.robust)
    except ConfigError as error:
        raise ConfigError("cohort.robust", error.problem, error.remedy) from error


def unchosen(settings: TaskSettings) -> frozenset[str]:
    """Return what of a contract nobody has chosen: a run goes on with its own."""
    chosen = settings.cohort.robust != "auto" or settings.cohort.secure
    return frozenset({"signatures", *([] if chosen else ["robust"])})


def check_cohort(settings: TaskSettings) -> None:
    """Refuse what an algorithm cannot do: semi-asynchronous rounds, devices that are taken out.

    Raises:
        ConfigError: naming those that can.
    """
    name = settings.algorithm
    if settings.cohort.forgotten and not algorithms.info(name).forgets:
        others = ", ".join(algorithms.names_with("forgets"))
        problem = f"{name} cannot take a device out: what it learned of one is in all numbers"
        remedy = f"begin a new run without it, or choose one of {others}"
        raise ConfigError("cohort.forgotten", problem, remedy)
    if settings.cohort.buffer is None or algorithms.info(name).averages:
        return
    problem = f"{name} does more with a round's uploads than average them"
    others = ", ".join(algorithms.names_with("averages"))
    raise ConfigError("cohort.buffer", problem, f"leave it out, or choose one of {others}")


def check_secure(algorithm: Algorithm[Any, Any, Any], settings: TaskSettings) -> None:
    """Refuse sums of what cannot be added.

    Raises:
        ConfigError: naming what can.
    """
    if not settings.cohort.secure:
        return
    try:
        summing_of(algorithm, settings.algorithm)
    except ConfigError as error:
        raise ConfigError("cohort.secure", error.problem, error.remedy) from error


class GeneratorHandle:
    """A task's generator, if it needs one, and what is wrong with it while it does not answer.

    Attributes:
        generator: asked by the algorithm's server part.
        problem: None while it answers.

    Raises:
        GeneratorError: if it cannot be used.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self.problem: str | None = None
        self.on_ready_change: Callable[[bool], None] = lambda ready: None
        needed = algorithms.needs_generator(
            settings.algorithm, **algorithms.contract_options(make_contract(settings))
        )
        computed = algorithms.info(settings.algorithm).base and settings.base in (None, bases.AUTO)
        if settings.generator is not None and not needed and not computed:
            problem = f"{settings.algorithm} asks none with these hyperparameters"
            others = ", ".join(algorithms.names_with("generator"))
            raise ConfigError("generator", problem, f"leave it out, or choose {others}")
        self.generator = (
            generators.load(
                settings.generator or generators.EMBEDDED,
                patience_seconds=settings.cohort.give_up_seconds,
                on_problem=self._on_problem,
            )
            if needed
            else None
        )

    def _on_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            log.warning("generator: %s", problem or "answers again")
        self.problem = problem
        self.on_ready_change(problem is None)


def load_base(settings: TaskSettings, begun: str | None = None) -> Base | None:
    """Return the base that a task is bound to, if its algorithm needs one.

    A new task's is computed where nobody names one. It is kept in the task's folder, as is one that
    is named or fetched from a server: an aggregator that is started again has the same one,
    wherever it runs, and whatever has become of the one named.

    Args:
        settings: of the task.
        begun: identity of the base that the task's run has begun with; None before its begin.

    Raises:
        BaseError: if it cannot be used, reads other inputs, or is too large to be sent.
        ConfigError: if there is a base that nobody would ask, or its reference is none.
        GeneratorError: if its generator cannot be used.
        RunError: if the folder cannot be written.
    """
    if not algorithms.info(settings.algorithm).base:
        if settings.base is not None:
            problem = f"{settings.algorithm} trains networks, and asks none"
            others = ", ".join(algorithms.names_with("base"))
            raise ConfigError("base", problem, f"leave it out, or choose {others}")
        return None
    base = _held(settings, begun)
    if base.shape != settings.shape:
        problem = f"reads inputs of {base.shape}, and the task's shape is {settings.shape}"
        raise BaseError("base", problem, "choose a base that was made for them")
    if (size := len(base.graph)) > sending.LARGEST:
        problem = f"is {size:,} bytes large, and devices take {sending.LARGEST:,} at most"
        raise BaseError("base", problem, "choose a smaller extractor")
    return base


def _held(settings: TaskSettings, begun: str | None) -> Base:
    """Return a task's base: fetched, copied or computed if the task's folder has none yet."""
    if settings.base is not None and is_one(settings.base):
        patience = min(settings.cohort.give_up_seconds, remote.PATIENCE_SECONDS)
        return Base.read(remote.held(settings.base, settings.folder / "bases", patience, begun))
    if settings.base not in (None, bases.AUTO):
        return _named(settings.base, settings.folder / "bases", begun)
    place = settings.folder / "base"
    if placing.there(place) is not None:
        return Base.read(place)
    from edgeloop.bases import building  # needs onnx

    generator = generators.load(settings.generator or generators.EMBEDDED)
    classes = len(settings.class_names)
    recipe = building.recipe_for(settings.shape, classes)
    graph = building.load_or_compute(generator, settings.shape, classes).graph
    building.write_base(place, graph, settings.shape, recipe, generator.identity)
    return Base.read(place)


def _named(reference: str, folder: Path, begun: str | None) -> Base:
    """Return a base by its name or path; of a run that has begun the one that it began with.

    A copy that is damaged is made again, if the base is still the one that was copied.
    """
    asked = hashlib.sha256(reference.encode()).hexdigest()[:8]  # another name is another wish
    if begun is not None and (kept := folder / f"{asked}-{begun[:16]}").is_dir():
        if placing.there(kept) is not None or not _is_still(reference, begun):
            _note_changes(reference, begun)
            return Base.read(kept)
        log.warning("%s is damaged: it is copied again from base %s", kept, reference)
    facts, graph = manifest.read(bases.folder_of(reference))
    kept = folder / f"{asked}-{facts.identity[:16]}"
    if placing.there(kept) is None:
        remote.put(kept, facts, graph)
    return Base.read(kept)


def _is_still(reference: str, begun: str) -> bool:
    """Return whether a base by its name or path is the one that a run has begun with."""
    try:
        return manifest.read(bases.folder_of(reference))[0].identity == begun
    except BaseError:
        return False


def _note_changes(reference: str, begun: str) -> None:
    """Say that a base is not the one any more that a run goes on with."""
    try:
        now = manifest.read(bases.folder_of(reference))[0].identity
    except BaseError as error:
        log.warning("%s: the run goes on with the copy that it has", error)
        return
    if now != begun:
        text = "base %s is another one by now (%s...): the run goes on with the one that it began"
        log.warning(text + " with (%s...), of which it has a copy", reference, now[:12], begun[:12])
