"""Resources as the operator reads them, for the tests of its plain functions."""

from typing import Any

from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Base, Generator, Store, Task
from tests.cloud.operator.cluster import task

META = {"namespace": "plant", "uid": "u1", "generation": 1}

SETTINGS = OperatorSettings(
    namespaces=("plant",),
    aggregator_image="aggregator:1",
    generator_image="generator:1",
    broker_host="broker",
    triton="triton:8001",
    repository_claim="models",
)


def a_task(status: dict[str, Any] | None = None, **spec: Any) -> Task:
    """Return a task with some fields of its spec, and a status."""
    found = task(**spec)
    meta = {**META, "name": "shop-floor"}
    return Task.model_validate({**found, "metadata": meta, "status": status or {}})


def a_generator(status: dict[str, Any] | None = None, **spec: Any) -> Generator:
    """Return a generator with some fields of its spec, and a status."""
    meta = {**META, "name": "faces"}
    spec = {"source": "digits", **spec}
    return Generator.model_validate({"metadata": meta, "spec": spec, "status": status or {}})


def a_base(status: dict[str, Any] | None = None, **spec: Any) -> Base:
    """Return a base with some fields of its spec, and a status."""
    meta = {**META, "name": "faces"}
    spec = {"source": "faces-1", **spec}
    return Base.model_validate({"metadata": meta, "spec": spec, "status": status or {}})


def a_store(name: str, key: str = "url") -> Store:
    """Return a secret with a database's URL."""
    return Store.model_validate({"secretName": name, "key": key})
