"""A data set of the catalogue becomes a folder: torchvision downloads it and checks its MD5."""

import os
import secrets
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeloop.data.catalogue import Entry
from edgeloop.errors import ConfigError, DataError, RunError, UnavailableError

Say = Callable[[str], None]
_EXTRA = "pip install 'edgeloop[vision]'"
# What a download that fails raises: no network, a refusal, another MD5, a broken archive.
_FAILURES = (OSError, RuntimeError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile)


def fetch(entry: Entry, folder: Path, say: Say) -> Path:
    """Fetch a data set into a folder, whole or not at all.

    Everything goes to a folder beside it first, which then takes the name.

    Args:
        entry: of the catalogue.
        folder: a path that does not exist or is an empty folder.
        say: called with what is being done.

    Returns:
        The folder.

    Raises:
        ConfigError: a data set that must be got by hand.
        DataError: torchvision is missing, or what was fetched is damaged.
        UnavailableError: the download fails.
        RunError: the folder holds something, or cannot be made.
    """
    if not entry.torchvision:
        raise ConfigError("name", *_by_hand(entry, folder))
    target = folder.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(str(folder), "exists and is not empty", "name a new or an empty folder")
    function = getattr(torchvision_datasets(), entry.torchvision)
    building = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        _make(building, folder)
        say(f"downloading {entry.title}, from {entry.source}")
        _download(function, entry, building)
        os.replace(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def torchvision_datasets() -> Any:
    """Import `torchvision.datasets`.

    Raises:
        DataError: it is not installed, or does not suit this torch.
    """
    try:
        return import_module("torchvision.datasets")
    except ImportError as error:
        raise DataError("torchvision", "is needed to fetch data sets", _EXTRA) from error
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise DataError("torchvision", f"fails beside this torch: {reason}", _EXTRA) from error


def _by_hand(entry: Entry, folder: Path) -> tuple[str, str]:
    if entry.layout == "embedded":
        return f"{entry.name} is in the package", f"write --data {entry.name}"
    problem = f"{entry.name} is not fetched by edgeloop: no checksum of it is known"
    return problem, f"get it from {entry.source}, and unpack it into {folder}"


def _make(building: Path, folder: Path) -> None:
    try:
        building.mkdir(parents=True)
    except OSError as error:
        remedy = "name another folder"
        raise RunError(str(folder), f"cannot be made ({error})", remedy) from error


def _download(function: Callable[..., Any], entry: Entry, folder: Path) -> None:
    try:
        _construct(function, folder, entry.options)
        if split := entry.options.get("split"):
            _keep_only(folder, f"emnist-{split}-")
    except _FAILURES as error:
        reason = " ".join(str(error).split())
        remedy = f"check the network, or get it from {entry.source}"
        kind = UnavailableError if isinstance(error, OSError) else DataError
        raise kind(entry.name, f"could not be fetched ({reason})", remedy) from error


def _construct(function: Callable[..., Any], folder: Path, options: Mapping[str, Any]) -> None:
    """Have torchvision download, check and unpack; what its class then reads does not matter.

    Flowers102 needs scipy to read its labels, which we do not: by then all is downloaded.
    """
    try:
        function(str(folder), download=True, **options)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            raise


def _keep_only(folder: Path, beginning: str) -> None:
    """Remove EMNIST's other splits and its archive: 2 GB."""
    for path in (each for each in folder.rglob("*") if each.is_file()):
        if not path.name.startswith(beginning):
            path.unlink()
