"""What a layout of data is, and what is said where it cannot be read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeloop.data.columns import Columns
from edgeloop.data.images import Size
from edgeloop.data.samples import Pool
from edgeloop.errors import ConfigError, DataError


@dataclass(frozen=True)
class Source:
    """A layout of undivided data.

    Attributes:
        layout: what it is called.
        matches: whether a path has it.
        read: reads the path; gets a size where `resizes`, and what is wanted where `sparing`.
        resizes: whether it has images that can be resized.
        sparing: whether reading takes less time where fewer samples are wanted.
        named: whether it is a table whose columns can be named: `read` then takes `asked`.
    """

    layout: str
    matches: Callable[[Path], bool]
    read: Callable[..., Pool]
    resizes: bool = False
    sparing: bool = False
    named: bool = False


@contextmanager
def readable() -> Iterator[None]:
    """Say it as bad input where a file or a folder of a source cannot be read.

    Raises:
        DataError: naming it, in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        problem = f"cannot be read ({error.strerror})"
        remedy = "let this user read it, and every folder within it, or move it away"
        raise DataError(os.fsdecode(error.filename), problem, remedy) from error


def refuse_size(image_size: Size, layout: str) -> None:
    """Refuse an image size for a layout without images that can be resized.

    Raises:
        ConfigError: if there is one.
    """
    if image_size is not None:
        problem = f"is of image files, and this source has none ({layout})"
        raise ConfigError("image_size", problem, "leave it out")


def refuse_columns(columns: Columns, layout: str) -> None:
    """Refuse names of columns for a layout without a table.

    Raises:
        ConfigError: if there is one.
    """
    for name, value in asdict(columns).items():
        if value is not None:
            problem = f"is of a table, and this source has none ({layout})"
            raise ConfigError(f"{name}_column", problem, "leave it out")
