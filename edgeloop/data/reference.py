"""A data set as a person names it: what is there, and in which layout, is found here once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop.data import advice, catalogue, hub, layouts, table_files
from edgeloop.data.client_files import is_client_folder
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.dirichlet import Indices
from edgeloop.data.images import Size
from edgeloop.data.sample import NAME
from edgeloop.data.samples import Pool
from edgeloop.data.source import Source, readable, refuse_columns, refuse_size
from edgeloop.errors import DataError, EdgeloopError, choose
from edgeloop.runtime.plugins import SOURCES as SOURCE_PLUGINS
from edgeloop.runtime.plugins import reference as import_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undivided:
    """An undivided data set that was found.

    Attributes:
        path: what its reader is given.
        layout: how it lies there.
    """

    path: Path
    layout: Source

    def read(
        self, image_size: Size, wanted: Callable[[int], Indices] | None, columns: Columns
    ) -> Pool:
        """Read it whole; see `edgeloop.data.read`."""
        known = self.layout
        if not known.resizes:
            refuse_size(image_size, known.layout)
        if not known.named:
            refuse_columns(columns, known.layout)
        sized = (image_size,) if known.resizes else ()
        sparing = (wanted,) if known.sparing else ()
        named = {"asked": columns} if known.named else {}
        with readable():
            return known.read(self.path, *sized, *sparing, **named)


@dataclass(frozen=True)
class DataReference:
    """What a person calls a data set.

    Attributes:
        text: as it was written.
        path: the file or folder; of what is none (`fashion-sample`, `hf:NAME`), the same name.
    """

    text: str
    path: Path

    @classmethod
    def of(cls, source: str | Path) -> "DataReference":
        """Return what a name or a path refers to; nothing is looked at yet.

        Raises:
            DataError: an empty name, which would be the folder that the command runs in.
        """
        if source == "":
            raise DataError("data", "is empty", f"name a file or a folder, or {NAME}")
        return cls(str(source), Path(source))

    @property
    def is_divided(self) -> bool:
        """Whether it has one file per client; looked up each time.

        Raises:
            DataError: a folder that may not be looked into.
        """
        with readable():
            return self.text != NAME and is_client_folder(self.path)

    def undivided(self, columns: Columns = BY_NAME) -> Undivided:
        """Find an undivided data set; where several layouts fit, say so.

        Args:
            columns: as of `edgeloop.data.load`; where some are named, a table is meant.

        Raises:
            DataError: a source that is missing or in no layout.
        """
        return self._named() or Undivided(self.path, self._layout(columns))

    def _named(self) -> Undivided | None:
        """Return what is no path, or what a person names a reader of; else None."""
        if self.text == NAME:
            return Undivided(self.path, layouts.EMBEDDED)
        if hub.is_reference(self.text):
            return Undivided(self.path, layouts.HUB)
        given = SOURCE_PLUGINS.brought(self.text)
        if isinstance(given, Source):
            return Undivided(self.path, given)
        named = import_path(self.text)
        if named is None or named.path not in SOURCE_PLUGINS.names():
            return None
        return Undivided(Path(named.rest or ""), layouts.of_others(named.path))

    def _layout(self, columns: Columns) -> Source:
        with readable():
            if not self.path.exists():
                raise DataError(self.text, "no such file or folder", self._advice())
            fits = [known for known in layouts.own() if known.matches(self.path)]
            tabular = any(each.named for each in fits)
            if columns and not tabular and table_files.table_paths(self.path):
                return layouts.TABLES
            if fits:
                return self._first(fits)
            theirs, broken = self._recognised()
            if theirs is not None:
                return theirs
            if table_files.matches(self.path):
                return layouts.TABLES
        if self.path.is_dir():
            for problem in broken:
                log.warning("%s is taken for class folders: %s", self.path, problem)
            return layouts.FOLDERS
        problem = "; ".join(["unknown layout", *broken])
        usual = "name a folder or a file that docs/data.md has"
        raise DataError(self.text, problem, advice.remedy(self.path) or usual)

    def _first(self, fits: Sequence[Source]) -> Source:
        """Return the first of the layouts that fit, and name the others."""
        if len(fits) > 1:
            others = ", ".join(each.layout for each in fits[1:])
            text = (
                "%s: is read as %s; it would fit %s, too: name a file or a folder of what you mean"
            )
            log.warning(text, self.path, fits[0].layout, others)
        return fits[0]

    def _recognised(self) -> tuple[Source | None, list[str]]:
        """Return the first of other packages' layouts that fits, and what is wrong with others."""
        broken: list[str] = []
        for name in SOURCE_PLUGINS.packaged():
            try:
                theirs = layouts.of_others(name)
                if theirs.matches(self.path):
                    return theirs, broken
            except EdgeloopError as error:
                broken.append(str(error))
        return None, broken

    def _advice(self) -> str:
        """Return what to do about a path where nothing is."""
        if (meant := choose(self.path, [NAME])).startswith("did"):
            return meant
        known = catalogue.advice(self.path)
        if known is None:
            return f"check the path, or use {NAME}; edgeloop data list shows what can be fetched"
        return f"check the path, or {known}"
