"""The local store of bases: one appears there whole or not at all; replaced only if asked."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeloop import bases
from edgeloop.errors import BaseError, ConfigError
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files
from edgeloop.runtime.new_folders import OLD, new_folder


@contextmanager
def new(name: str, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes the base of this name when the block ends well.

    Args:
        name: in the store.
        replace: whether a base that has the name may go.

    Raises:
        BaseError: if the name is taken, or the store cannot be written.
        ConfigError: if it is no name.
    """
    check_free(name, replace=replace)
    home = bases.store()
    with ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True)
            building = stack.enter_context(new_folder(home))
        except OSError as error:
            problem = f"cannot be written ({error.strerror})"
            raise BaseError(str(home), problem, "set EDGELOOP_HOME to another folder") from error
        folder = building / name
        folder.mkdir()
        yield folder
        check_free(name, replace=replace)  # another command may have been quicker
        if (home / name).exists():
            (home / name).rename(building / OLD)
        folder.rename(home / name)
        atomic_files.sync(home)


def check_free(name: str, *, replace: bool = False) -> None:
    """Refuse what is no name, and, unless it may be replaced, a name that is taken.

    Raises:
        BaseError: if it is taken.
        ConfigError: if it is no name.
    """
    if re.fullmatch(wire.NAME.pattern, name) is None or name == bases.AUTO:
        remedy = f"use letters, digits and . _ -, at most 64, and not {bases.AUTO}"
        raise ConfigError("--name", f"{name!r} is no name for a base", remedy)
    if (bases.store() / name).exists() and not replace:
        problem = "is in the local store already"
        raise BaseError(name, problem, "use --replace, or another name")
