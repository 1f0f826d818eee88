"""The local store of generators."""

from contextlib import AbstractContextManager
from pathlib import Path

from cloud.generator_service.local_store import LocalStore
from edgeloop import generators
from edgeloop.errors import GeneratorError
from edgeloop.generators.manifest import MANIFEST

_STORE = LocalStore("generator", generators.store, GeneratorError)


def new(name: str, *, replace: bool = False) -> AbstractContextManager[Path]:
    """Give an empty folder that becomes the generator of this name; see `LocalStore.new`."""
    check_free(name, replace=replace)
    return _STORE.new(name, replace=replace)


def check_free(name: str, *, replace: bool = False) -> None:
    """Refuse what is no name, and, unless it may be replaced, a name that is taken.

    Raises:
        ConfigError: if it is no name.
        GeneratorError: if it is taken, or an embedded generator's.
    """
    _STORE.check_free(name, replace=replace)
    embedded = Path(generators.__file__).parent / name / MANIFEST
    if embedded.is_file():
        raise GeneratorError(name, "is the name of an embedded generator", "choose another name")
