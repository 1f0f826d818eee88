"""A local store: a folder whose entries appear whole or not at all, and are replaced only if asked.

What a killed command has left there is removed, or put back, by the next one.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeloop.errors import BaseError, ConfigError, GeneratorError
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files
from edgeloop.runtime.new_folders import OLD, new_folder


@dataclass(frozen=True)
class LocalStore:
    """The store of one kind of thing.

    Attributes:
        kind: what an entry is, for a person.
        home: tells where the store is now.
        error: raised for a name that is taken, or a folder that cannot be written.
    """

    kind: str
    home: Callable[[], Path]
    error: type[BaseError] | type[GeneratorError]

    @contextmanager
    def new(self, name: str, *, replace: bool = False) -> Iterator[Path]:
        """Give an empty folder that becomes the entry of this name when the block ends well.

        Args:
            name: in the store.
            replace: whether an entry that has the name may go.

        Raises:
            BaseError, GeneratorError: if the name is taken, or the store cannot be written.
            ConfigError: if it is no name.
        """
        self.check_free(name, replace=replace)
        home = self.home()
        with ExitStack() as stack:
            try:
                home.mkdir(parents=True, exist_ok=True)
                building = stack.enter_context(new_folder(home))
            except OSError as error:
                problem = f"cannot be written ({error.strerror})"
                remedy = "set EDGELOOP_HOME to another folder"
                raise self.error(str(home), problem, remedy) from error
            folder = building / name
            folder.mkdir()
            yield folder
            self.check_free(name, replace=replace)  # another command may have been quicker
            self._place(folder, building / OLD, home / name, replace=replace)

    def check_free(self, name: str, *, replace: bool = False) -> None:
        """Refuse what is no name, and, unless it may be replaced, a name that is taken.

        Raises:
            BaseError, GeneratorError: if it is taken.
            ConfigError: if it is no name.
        """
        if re.fullmatch(wire.NAME.pattern, name) is None:
            remedy = "use letters, digits and . _ -, at most 64"
            raise ConfigError("--name", f"{name!r} is no name for a {self.kind}", remedy)
        if (self.home() / name).exists() and not replace:
            raise self._taken(name)

    def _place(self, folder: Path, old: Path, place: Path, *, replace: bool) -> None:
        """Put a folder into its place, or back what was there and may go."""
        if replace and place.exists():
            place.rename(old)
        try:
            folder.rename(place)
        except OSError as error:
            if old.exists():
                old.rename(place)
            raise self._taken(place.name) from error
        atomic_files.sync(place.parent)

    def _taken(self, name: str) -> BaseError | GeneratorError:
        problem = "is in the local store already"
        return self.error(name, problem, "use --replace, or another name")
