"""The algorithms, one file each; the file's name is the algorithm's, with _ for a hyphen.

Other packages bring more, each a module like these: entry points of `edgeloop.algorithms`.
"""

import dataclasses
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from edgeloop.algorithm import Algorithm, AlgorithmInfo, private_recipe
from edgeloop.errors import ConfigError, choose
from edgeloop.protocol import robust_rules
from edgeloop.protocol.robust_rules import RobustChoice, RobustRule
from edgeloop.protocol.task import Contract
from edgeloop.runtime import modules, wording
from edgeloop.runtime.plugins import ALGORITHMS, Brought

if TYPE_CHECKING:
    from edgeloop.generator import Generator


RUN_FACTS = (
    *("classes", "width", "seed", "shape"),
    *("generator_sha256", "latent_dim", "base_sha256", "dims"),
)
"""Fields of a Config that a run fills in from its data, settings, generator and base."""


def names() -> list[str]:
    """Return the algorithms' names, in order: those of this package and of others."""
    return sorted({*built_in(), *ALGORITHMS.names()})


def built_in() -> list[str]:
    """Return the names of this package's algorithms, in order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def origin(name: str) -> str:
    """Return where an algorithm is from: edgeloop, or another package and its version."""
    return ALGORITHMS.origins(name, built_in())


def info(name: str) -> AlgorithmInfo:
    """Return what a person wants to know of an algorithm; its file is not imported for it.

    Raises:
        ConfigError: if there is no such algorithm, there are two, or another package's is broken.
    """
    with _found(name) as place:
        found = _constant(place, "INFO")
        if not isinstance(found, AlgorithmInfo):
            raise TypeError("its INFO is no AlgorithmInfo")
    return found


def config(name: str, **options: Any) -> Any:
    """Return the algorithm's Config with these fields.

    Raises:
        ConfigError: if there is no such algorithm or field, or a value is out of range.
    """
    return _configured(name, _module(name).Config, options)


def check_options(name: str, which: str, options: Mapping[str, Any], **facts: Any) -> None:
    """Refuse a variant or hyperparameters that an algorithm has not; its file is not imported.

    Args:
        name: the algorithm's.
        which: its variant.
        options: fields of its Config, over the variant's.
        facts: of the run, where its Config has a field for them.

    Raises:
        ConfigError: as `config` and `variant_options`.
    """
    whole = {**variant_options(name, which), **options}
    with _found(name) as place:
        kind = _constant(place, "Config")
    fields = {field.name for field in dataclasses.fields(kind)}
    _configured(name, kind, {**{key: facts[key] for key in fields & facts.keys()}, **whole})


def _configured(name: str, kind: Any, options: Mapping[str, Any]) -> Any:
    fields = [field.name for field in dataclasses.fields(kind)]
    retired = info(name).retired_options
    for option in options:
        if option in retired:
            raise ConfigError(option, f"{name} has this hyperparameter no more", retired[option])
        if option not in fields:
            settable = [field for field in fields if field not in RUN_FACTS]
            meant = choose(option, settable).replace("choose one of", "it has")
            raise ConfigError(option, f"{name} has no such hyperparameter", meant)
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        place, problem, remedy = wording.first_finding(error.errors())
        where = str(place[0]) if place else name
        raise ConfigError(where, f"{name}: {problem}", remedy) from error


def load(
    name: str, generator: "Generator | None" = None, **options: Any
) -> Algorithm[Any, Any, Any]:
    """Build the algorithm in the file of this name, with these fields of its Config.

    Args:
        name: its name.
        generator: for the server's part of an algorithm whose `INFO` says that it needs one.
        options: fields of its Config.

    Raises:
        ConfigError: if there is no such algorithm or field, or a value is out of range.
        GeneratorError: if the generator is another one than the options say.
    """
    wanted = (generator,) if info(name).generator else ()
    chosen = config(name, **options)
    _check_heads(name, [getattr(chosen, "architecture", "")])
    algorithm: Algorithm[Any, Any, Any] = _module(name).build(chosen, *wanted)
    return algorithm


def load_for_contract(
    contract: Contract, generator: "Generator | None" = None
) -> Algorithm[Any, Any, Any]:
    """Build the algorithm that a task's contract names.

    Raises:
        ConfigError: if there is none of that name, or a hyperparameter is wrong, or privacy is
            asked of one that has no private form.
        GeneratorError: if the generator is another one than the contract's.
    """
    algorithm = load(contract.algorithm, generator, **contract_options(contract))
    if contract.privacy is not None:
        check_private(contract.algorithm, algorithm)
    return algorithm


def check_private(name: str, algorithm: Algorithm[Any, Any, Any]) -> None:
    """Refuse an algorithm whose clients cannot train with differential privacy.

    Raises:
        ConfigError: if its round is more than one descent, or its evaluations show what has no
            noise.
    """
    private_recipe(algorithm, name)


def contract_options(contract: Contract) -> dict[str, Any]:
    """Return the fields of the algorithm's Config that a task's contract decides."""
    facts = supported_options(
        contract.algorithm,
        classes=len(contract.class_names),
        width=contract.width,
        shape=contract.shape,
        seed=contract.seed,
    )
    return {**contract.options, **facts}


def check_same_architecture(name: str, architectures: Iterable[str], **options: Any) -> None:
    """Refuse clients whose models, or whose heads, are not as much alike as the algorithm needs.

    Args:
        name: the algorithm's.
        architectures: the clients'.
        options: fields of its Config.

    Raises:
        ConfigError: naming one that is not Config's `architecture` where the algorithm averages
            whole models, or one whose head is not one linear layer where it needs that.
    """
    architectures = list(architectures)
    _check_heads(name, architectures)
    if not info(name).same_architecture:
        return
    wanted = config(name, **options).architecture
    for architecture in architectures:
        if architecture != wanted:
            problem = f"{name} averages whole models: {architecture} is no {wanted}"
            remedy = "give all clients one architecture, or choose an algorithm for several"
            raise ConfigError("models", problem, remedy)


def _check_heads(name: str, architectures: Iterable[str]) -> None:
    if not info(name).linear_head_only:
        return
    from edgeloop.models import is_layered  # needs torch

    for architecture in architectures:
        if is_layered(architecture):
            problem = f"{name} needs heads of one linear layer: {architecture} has another"
            remedy = "leave out what is behind the plus, or choose an algorithm for any heads"
            raise ConfigError("models", problem, remedy)


def supported_options(name: str, **facts: Any) -> dict[str, Any]:
    """Return those facts of a run that this algorithm's Config has a field for."""
    fields = {field.name for field in dataclasses.fields(_module(name).Config)}
    return {fact: value for fact, value in facts.items() if fact in fields}


def robust_rule(name: str, choice: RobustChoice) -> RobustRule:
    """Return the rule against forged uploads that a choice comes to for an algorithm.

    Raises:
        ConfigError: if one was asked for that it does not take.
    """
    takes = info(name).robust
    if choice == "auto":
        return robust_rules.DEFAULT if takes else "none"
    if choice != "none" and not takes:
        problem = f"{name} has no uploads that a rule could change"
        raise ConfigError("robust", problem, "leave it out, or give none")
    return choice


def names_with(fact: Literal["generator", "base", "averages", "forgets"]) -> list[str]:
    """Return this package's algorithms whose `INFO` has a fact: that they average, say."""
    return [name for name in built_in() if getattr(info(name), fact)]


def may_ask_generator(name: object) -> bool:
    """Return whether this is the name of an algorithm whose server may ask a generator.

    Raises:
        ConfigError: if it is another package's that is broken.
    """
    return isinstance(name, str) and name in names() and info(name).generator


def needs_generator(name: str, **options: Any) -> bool:
    """Return whether the server's part of a run with these options asks a generator.

    Raises:
        ConfigError: as `config`.
    """
    return info(name).generator and bool(config(name, **options).needs_generator)


def generator_options(name: str, generator: "Generator | None") -> dict[str, Any]:
    """Return the options that bind a run of this algorithm to one generator."""
    if generator is None:
        return {}
    return {"generator_sha256": generator.identity, "latent_dim": generator.latent_dim}


def base_options(name: str, base: Any) -> dict[str, Any]:
    """Return the options that bind a run of this algorithm to one base; none without one."""
    if base is None or not info(name).base:
        return {}
    return {"base_sha256": base.identity, "dims": base.dims}


def variant_options(name: str, which: str) -> Mapping[str, Any]:
    """Return the options of an algorithm's variant, "released" or "paper".

    Raises:
        ConfigError: if there is no such algorithm or variant.
    """
    variants = {"released": {}, **info(name).variants}
    if which not in variants:
        meant = choose(which, sorted(variants))
        raise ConfigError("variant", f"{name} has no variant {which!r}", meant)
    return variants[which]


def _constant(place: Any, name: str) -> Any:
    """Return one of the names of an algorithm; its module is not imported for it, if it can be.

    Args:
        place: what `_found` yields.
        name: INFO or Config.
    """
    if not isinstance(place, str):
        return getattr(place, name)
    try:
        return modules.constant(place, name)
    except AttributeError:  # it is made otherwise, or not at all
        return getattr(import_module(place), name)


def _module(name: str) -> Any:
    with _found(name) as place:
        found = import_module(place) if isinstance(place, str) else place
        lacking = [part for part in ("INFO", "Config", "build") if not hasattr(found, part)]
        if lacking:
            raise AttributeError(f"it has no {lacking[0]}")
    return found


@contextmanager
def _found(name: str) -> Iterator[Any]:
    """Find an algorithm, and say whose it is where it then fails.

    Yields:
        the name of its module; or the object that has `INFO`, `Config` and `build`.

    Raises:
        ConfigError: if there is none, or there are two, or another package's fails.
    """
    ours = built_in()
    point = ALGORITHMS.find(name, ours)
    if point is not None:
        with ALGORITHMS.asked(point):
            if isinstance(point, Brought) or point.attr:
                yield modules.around(point.load(), "build")
            else:
                yield point.module
    elif name in ours:
        yield f"{__name__}.{name.replace('-', '_')}"
    else:
        raise ConfigError("algorithm", f"there is no {name!r}", choose(name, names()))
