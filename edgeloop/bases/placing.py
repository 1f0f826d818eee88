"""Puts a base into its folder, which appears whole or not at all, whoever else does the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

from edgeloop.bases import manifest
from edgeloop.bases.manifest import Manifest
from edgeloop.errors import BaseError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.new_folders import held, new_folder


def put(
    place: Path,
    graph: bytes,
    prefix: str,
    serves: Callable[[Manifest], bool] = lambda found: True,
    **fields: object,
) -> Manifest:
    """Write a base to a folder; its parents are made.

    A whole one that is there already stays, as where another process was faster; what is damaged
    is replaced.

    Args:
        place: the folder.
        graph: the base's ONNX file.
        prefix: of the name of the folder that it is written in, a dot first.
        serves: whether a whole base that is there already may stay.
        fields: the manifest's, without `sha256`.

    Returns:
        the manifest of the base that is there.

    Raises:
        RunError: if the folder cannot be written.
        ValidationError: if a field is wrong.
    """
    with atomic_files.writing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(place.parent, prefix) as building:
            new = manifest.write(building, graph, **fields)
            building.chmod(0o755)
            with held(place.parent):
                kept = there(place)
                if kept is None or not serves(kept):
                    _replace(place, building)
                    kept = new
        atomic_files.sync(place.parent)
    return kept


def there(place: Path) -> Manifest | None:
    """Return the manifest of the whole base in a folder; None if it is damaged or not there."""
    try:
        return manifest.read(place)[0]
    except BaseError:
        return None


def _replace(place: Path, building: Path) -> None:
    """Have a new folder take a place; what is there has gone from it when this returns."""
    old = building.with_name(f"{building.name}-old")  # a killed process's is removed by the next
    if place.exists():
        place.rename(old)
    try:
        building.rename(place)
    except OSError:
        if there(place) is None:  # else somebody else was faster, on a disk without locks
            raise
    shutil.rmtree(old, ignore_errors=True)
