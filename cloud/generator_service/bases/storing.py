"""The local store of bases."""

from contextlib import AbstractContextManager
from pathlib import Path

from cloud.generator_service.local_store import LocalStore
from edgeloop import bases
from edgeloop.errors import BaseError, ConfigError

_STORE = LocalStore("base", bases.store, BaseError)


def new(name: str, *, replace: bool = False) -> AbstractContextManager[Path]:
    """Give an empty folder that becomes the base of this name; see `LocalStore.new`."""
    check_free(name, replace=replace)
    return _STORE.new(name, replace=replace)


def check_free(name: str, *, replace: bool = False) -> None:
    """Refuse what is no name, and, unless it may be replaced, a name that is taken.

    Raises:
        BaseError: if it is taken.
        ConfigError: if it is no name, or that of the base which is computed where it is needed.
    """
    if name == bases.AUTO:
        problem = f"{name!r} is no name for a base"
        raise ConfigError("--name", problem, "it asks for a computed one; choose another name")
    _STORE.check_free(name, replace=replace)
