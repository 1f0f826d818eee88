"""A folder of bases that a web server can serve: each with its versions, and an index.

index.json                  {"bases": {NAME: {VERSION: IDENTITY}}}
NAME/VERSION/base.json      the manifest
NAME/VERSION/features.onnx  the graph
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path

from edgeloop.bases import manifest
from edgeloop.bases.manifest import GRAPH, MANIFEST, Manifest
from edgeloop.bases.remote import INDEX
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files
from edgeloop.runtime.new_folders import new_folder

LARGEST_VERSION = 1_000_000

Versions = dict[int, str]


def write(folder: Path, repository: Path, name: str, version: int) -> Manifest:
    """Write one version of a base; one that is there already stays, if it is the same base.

    A version is never another base's: tasks hold to it.

    Args:
        folder: of the base, which must be one that can be run.
        repository: to write into; made if it is not there.
        name: of the base on the server.
        version: beside others that may be there.

    Raises:
        BaseError: if the folder holds no base, or the version is another one's by now.
        ConfigError: if the name or the version is none.
        RunError: if the repository cannot be written.
    """
    check(name, version)
    facts, _ = manifest.read(folder)
    Base.read(folder)
    known = versions(repository, name)
    if known.get(version, facts.identity) != facts.identity:
        problem = f"{version} of {name} is another base ({known[version][:12]}...)"
        remedy = f"write this one as version {max(known) + 1}, or under another name"
        raise BaseError("version", problem, remedy)
    with atomic_files.writing(repository):
        place = repository / name / str(version)
        if version not in known or not is_whole(place):
            _copied(folder, place)
        atomic_files.write_json(repository / INDEX, {"bases": index(repository)})
    return facts


def remove(repository: Path, name: str) -> Versions:
    """Remove a base, all its versions; return those that were there.

    Raises:
        ConfigError: if the name is none.
        RunError: if the repository cannot be written.
    """
    check(name, 1)
    known = versions(repository, name)
    with atomic_files.writing(repository):
        if (repository / name).is_dir():
            shutil.rmtree(repository / name)
            atomic_files.write_json(repository / INDEX, {"bases": index(repository)})
    return known


def versions(repository: Path, name: str) -> Versions:
    """Return a base's versions with their identities, the oldest first."""
    return index(repository, name).get(name, {})


def index(repository: Path, name: str = "*") -> dict[str, Versions]:
    """Return versions and identities by name; what is damaged is not there."""
    found: dict[str, Versions] = {}
    for path in sorted(repository.glob(f"{name}/*/{MANIFEST}")):
        called, version = path.parts[-3:-1]
        if re.fullmatch("[1-9][0-9]{0,6}", version) and (path.parent / GRAPH).is_file():
            with suppress(
                OSError, ValueError
            ):  # ValueError: pydantic's, of a manifest that is none
                facts = Manifest.model_validate_json(path.read_bytes())
                found.setdefault(called, {})[int(version)] = facts.identity
    return {called: dict(sorted(found[called].items())) for called in found}


def is_whole(place: Path) -> bool:
    """Return whether a version's folder holds the base that its manifest names."""
    try:
        manifest.read(place)
    except BaseError:
        return False
    return True


def check(name: str, version: int) -> None:
    """Refuse what is no name or no version.

    Raises:
        ConfigError: naming it.
    """
    if re.fullmatch(wire.NAME.pattern, name) is None:
        remedy = "use letters, digits, dots, dashes and underscores"
        raise ConfigError("--name", f"{name!r} is no name for a base", remedy)
    if not 1 <= version <= LARGEST_VERSION:
        problem = f"{version} is not from 1 to {LARGEST_VERSION}"
        raise ConfigError("--version", problem, "give another")


def _copied(folder: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(place.parent) as building:
        for part in (GRAPH, MANIFEST):
            atomic_files.write(building / part, (folder / part).read_bytes())
        building.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        building.rename(place)
        atomic_files.sync(place.parent)
