"""The algorithms, one file each; the file's name is the algorithm's, with _ for a hyphen."""

import dataclasses
import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from edgeloop.algorithm import Algorithm, AlgorithmInfo, private_recipe
from edgeloop.errors import ConfigError, choose
from edgeloop.protocol.task import Contract
from edgeloop.runtime import wording

if TYPE_CHECKING:
    from edgeloop.generator import Generator


def names() -> list[str]:
    """Return the algorithms' names, in order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def info(name: str) -> AlgorithmInfo:
    """Return what a person wants to know of an algorithm."""
    found: AlgorithmInfo = _module(name).INFO
    return found


def config(name: str, **options: Any) -> Any:
    """Return the algorithm's Config with these fields.

    Raises:
        ConfigError: if there is no such algorithm or field, or a value is out of range.
    """
    kind = _module(name).Config
    fields = [field.name for field in dataclasses.fields(kind)]
    retired = info(name).retired_options
    for option in options:
        if option in retired:
            raise ConfigError(option, f"{name} has this hyperparameter no more", retired[option])
        if option not in fields:
            meant = choose(option, fields).replace("choose one of", "it has")
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
        generator: for the server's part of an algorithm whose card says that it needs one.
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


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ConfigError("algorithm", f"there is no {name!r}", choose(name, names()))
    return import_module(f"{__name__}.{name.replace('-', '_')}")
