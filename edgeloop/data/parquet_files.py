"""Which parquet files of a folder are its data, and which part of it each is.

A repository of the Hugging Face hub has them in `data`, or in a folder for each configuration.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from edgeloop.data.left_out import SkippedFiles, is_hidden
from edgeloop.data.parts import part_in, part_of, rank
from edgeloop.errors import DataError

_DEEPEST = 3
"""Folders within folders in which files are looked for."""


def holds_parquet(path: Path) -> bool:
    """Return whether this is a parquet file, or a folder that has one, or one in a folder."""
    return path.suffix == ".parquet" or bool(path.is_dir() and _found(path))


def files(source: Path) -> list[Path]:
    """Return the files of a source, by part and name.

    Raises:
        DataError: a folder of several sets of files, none of which is the one.
    """
    if source.is_file():
        return [source]
    found = _found(source)
    sets = sorted({_set(source, path) for path in found})
    if len(sets) > 1:
        listed = ", ".join(str(each) for each in sets)
        remedy = f"name one of them, such as {source / sets[0]}"
        raise DataError(str(source), f"holds several sets of parquet files: {listed}", remedy)
    return sorted(found, key=lambda path: (rank(part(path)), path.parent, path.name))


def part(path: Path) -> str:
    """Return which part a file is of, by its name or else its folder's; maybe none."""
    return part_in(path.name) or part_of(path.parent.name)


def left_out(source: Path, read: Sequence[Path]) -> SkippedFiles:
    """Return what a folder has beside its files."""
    left = SkippedFiles()
    if source.is_dir():
        folders = {source / path.relative_to(source).parts[0] for path in read}
        left.others(source, [*read, *folders, source / "classes.json"], "beside the files")
        for folder in sorted({path.parent for path in read} - {source}):
            left.others(folder, read, "beside the files")
    return left


def _found(folder: Path) -> list[Path]:
    """Return a folder's own files; where it has none, those in its folders."""
    own = [path for path in folder.glob("*.parquet") if not is_hidden(path)]
    if own:
        return own
    found: list[Path] = []
    for root, within, names in os.walk(folder):
        depth = len(Path(root).relative_to(folder).parts)
        shown = [each for each in within if not is_hidden(Path(each))]
        within[:] = sorted(shown) if depth < _DEEPEST else []
        found += [Path(root, name) for name in names if name.endswith(".parquet")]
    return [path for path in found if not is_hidden(path)]


def _set(source: Path, path: Path) -> Path:
    """Return the folder that a file's set has, without the part that it is of."""
    return Path(*(each for each in path.parent.relative_to(source).parts if not part_of(each)))
