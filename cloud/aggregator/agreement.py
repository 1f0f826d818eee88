"""What a task agrees on before it begins: its contract, and the generator that it is bound to."""

import logging
import uuid
from collections.abc import Callable

from cloud.aggregator.settings import TaskSettings
from edgeloop import algorithms, generators
from edgeloop.errors import ConfigError
from edgeloop.generator import Generator
from edgeloop.task import Contract

log = logging.getLogger(__name__)


def contract_of(settings: TaskSettings, generator: Generator | None = None) -> Contract:
    """Return the contract of a new run of a task, bound to its generator if it has one."""
    variant = algorithms.variant(settings.algorithm, settings.variant)
    bound = algorithms.generator_options(settings.algorithm, generator)
    same = set(TaskSettings.model_fields) & set(Contract.model_fields)
    return Contract(
        task=settings.name,
        run=uuid.uuid4().hex,
        options={**variant, **settings.hyperparameters, **bound},
        devices=settings.cohort.devices,
        **{name: getattr(settings, name) for name in same},
    )


class Patient:
    """A task's generator, if it needs one, and what is wrong with it while it does not answer.

    Attributes:
        generator: asked by the algorithm's server half.
        problem: None while it answers.

    Raises:
        GeneratorError: if it cannot be used.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self.problem: str | None = None
        self.told: Callable[[bool], None] = lambda ready: None
        needed = algorithms.needs_generator(
            settings.algorithm, **algorithms.agreed_options(contract_of(settings))
        )
        if settings.generator is not None and not needed:
            problem = f"{settings.algorithm} asks none with these hyperparameters"
            raise ConfigError("generator", problem, "leave it out, or choose fedktl")
        self.generator = (
            generators.load(
                settings.generator or generators.EMBEDDED,
                patience_seconds=settings.cohort.give_up_seconds,
                watch=self._watch,
            )
            if needed
            else None
        )

    def _watch(self, problem: str | None) -> None:
        if problem != self.problem:
            log.warning("generator: %s", problem or "answers again")
        self.problem = problem
        self.told(problem is None)
