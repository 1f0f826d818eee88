"""The local store: a generator appears there whole or not at all, and is never replaced unasked."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeloop import generators
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generators.manifest import MANIFEST
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files
from edgeloop.runtime.new_folders import OLD, new_folder


@contextmanager
def new(name: str, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder that becomes the generator of this name when the block ends well.

    Args:
        name: in the store.
        replace: whether a generator that has the name may go.

    Raises:
        ConfigError: if it is no name.
        GeneratorError: if the name is taken, or the store cannot be written.
    """
    check_free(name, replace=replace)
    with ExitStack() as stack:
        home = generators.store()
        try:
            home.mkdir(parents=True, exist_ok=True)
            building = stack.enter_context(new_folder(home))
        except OSError as error:
            problem = f"cannot be written ({error.strerror})"
            remedy = "set EDGELOOP_HOME to another folder"
            raise GeneratorError(str(home), problem, remedy) from error
        folder = building / name
        folder.mkdir()
        yield folder
        _place(folder, building / OLD, home / name, replace)


def check_free(name: str, *, replace: bool = False) -> None:
    """Refuse what is no name, and, unless it may be replaced, a name that is taken.

    Raises:
        ConfigError: if it is no name.
        GeneratorError: if it is taken.
    """
    if re.fullmatch(wire.NAME.pattern, name) is None or name.startswith("."):
        remedy = "use letters, digits and . _ -, at most 64"
        raise ConfigError("--name", f"{name!r} is no name for a generator", remedy)
    embedded = Path(generators.__file__).parent / name / MANIFEST
    if embedded.is_file():
        raise GeneratorError(name, "is the name of an embedded generator", "choose another name")
    if (generators.store() / name).exists() and not replace:
        raise _taken(name)


def _place(folder: Path, old: Path, home: Path, replace: bool) -> None:
    if replace and home.exists():
        home.rename(old)
    try:
        folder.rename(home)
    except OSError as error:
        if old.exists():
            old.rename(home)
        raise _taken(home.name) from error
    atomic_files.sync(home.parent)


def _taken(name: str) -> GeneratorError:
    problem = "is in the local store already"
    return GeneratorError(name, problem, "use --replace, or another name")
