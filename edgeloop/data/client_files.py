"""How many clients and classes a folder with one file per client has, by config.json or files."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop.data.archives import read_labels
from edgeloop.data.left_out import SkippedFiles
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import MOST_CLASSES
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

CONFIG = "config.json"
PARTS = ("train", "test")
FORMAT = "edgeloop 1"
_STATISTIC = "Size of samples for labels in clients"
_KEYS = {"format", "num_clients", "num_classes", _STATISTIC}


@dataclass(frozen=True)
class FolderConfig:
    """What `config.json` says.

    Attributes:
        clients: the number of clients.
        class_names: the given names, or the numbers of the classes.
        pixels: whether inputs are pixels; None where the file does not say.
        ours: whether `write` made the folder; its signals are as they were loaded.
        partition: how the data was divided; None where the file does not say.
    """

    clients: int
    class_names: tuple[str, ...]
    pixels: bool | None = None
    ours: bool = False
    partition: Partition | None = None


def is_client_folder(folder: Path) -> bool:
    """Return whether a folder has one file per client: `train/0.npz` or the like, or our settings.

    PFLlib reads the files alone; a `config.json` may be that of another program.
    """
    config = folder / CONFIG
    if _numbers(folder):
        return True
    if not config.is_file():
        return False
    try:
        content = json.loads(config.read_text(encoding="utf-8-sig"))
    except ValueError:
        return True
    return not content or not isinstance(content, dict) or not _KEYS.isdisjoint(content)


def file_of(folder: Path, part: str, client: int) -> Path:
    """Return a client's file: `train/0.npz`, or as PFLlib's first versions named it.

    Those have `train/train0_.npz`; `train0.npz` and `train_0.npz` are read, too. Where there is
    none, the first name is returned.
    """
    usual = folder / part / f"{client}.npz"
    if usual.is_file():
        return usual
    spelt = (f"{part}{client}_", f"{part}{client}", f"{part}_{client}")
    others = (folder / part / f"{name}.npz" for name in spelt)
    return next((each for each in others if each.is_file()), usual)


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of the clients that have a file here, ascending."""
    return sorted({number for number, _ in _numbered(folder)})


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Return the clients' files that are there, with their clients' numbers."""
    found = []
    for part in PARTS:
        name = re.compile(rf"(?:{part}_?)?([0-9]+)|{part}([0-9]+)_")
        for each in folder.glob(f"{part}/*.npz"):
            if (known := name.fullmatch(each.stem)) is not None:
                found.append((int(known[1] or known[2]), each))
    return found


def read_config(folder: Path) -> FolderConfig:
    """Return what a folder's `config.json` says, and what its files say where it does not.

    Raises:
        DataError: a `config.json` that does not say what it must, and files that do not either.
    """
    found = _Settings(folder, _content(folder)).config()
    _log_left_out(folder, found.clients)
    return found


def _content(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    if not path.is_file() and _numbers(folder):
        log.info("%s: has no %s: its files are read instead", folder, CONFIG)
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(str(path), f"not JSON ({error})", "write the folder again") from error
    if not isinstance(content, dict):
        raise DataError(str(path), "not a JSON object", "write the folder again")
    return content


def _log_left_out(folder: Path, clients: int) -> None:
    """Say which files are no client's."""
    left = SkippedFiles()
    for part in PARTS:
        if (folder / part).is_dir():
            left.others(folder / part, [file_of(folder, part, each) for each in range(clients)])
    left.log_summary(folder)


@dataclass(frozen=True)
class _Settings:
    """A folder's `config.json` key by key, and its files where that says nothing."""

    folder: Path
    content: Mapping[str, Any]

    def config(self) -> FolderConfig:
        return FolderConfig(
            class_names=self._class_names(),
            clients=self._clients(),
            pixels=self._flag("pixels"),
            ours=self.content.get("format") == FORMAT,
            partition=self._partition(),
        )

    def _class_names(self) -> tuple[str, ...]:
        classes = self._classes()
        names = self.content.get("class_names") or [str(label) for label in range(classes)]
        if not isinstance(names, list) or len(names) != classes:
            problem = f"is not a list of {classes} names (num_classes)"
            raise DataError(self._at("class_names"), problem, "name every class once")
        return tuple(str(name) for name in names)

    def _clients(self) -> int:
        """Return the number of clients; where the settings do not say, the files' names do."""
        held = _numbers(self.folder)
        if self.content.get("num_clients") is None and held:
            return held[-1] + 1
        return self._positive("num_clients")

    def _classes(self) -> int:
        """Return the number of classes; PFLlib's own may lack it, and count the labels instead.

        Raises:
            DataError: a number that is none, or none where no file has a label either.
        """
        if self.content.get("num_classes") is not None:
            classes = self._positive("num_classes")
            if classes > MOST_CLASSES:
                problem = f"{classes:,} classes, and {MOST_CLASSES:,} are the most"
                raise DataError(self._at("num_classes"), problem, "correct it")
            return classes
        classes = _counted(self.content.get(_STATISTIC)) or self._labelled()
        if not classes:
            problem = "is missing, and no file has a label"
            raise DataError(self._at("num_classes"), problem, "add it")
        path = self.folder / CONFIG
        log.info("%s: has no num_classes: taking %d, as the labels say", path, classes)
        return classes

    def _labelled(self) -> int:
        """Return one more than the largest label of the files that are there."""
        files = sorted(each for _, each in _numbered(self.folder))
        largest = [int(read_labels(each, MOST_CLASSES).max(initial=-1)) for each in files]
        return max(largest, default=-1) + 1

    def _positive(self, key: str) -> int:
        value = self.content.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(self._at(key), f"{value!r} is no whole number above 0", "correct it")
        return value

    def _flag(self, key: str) -> bool | None:
        value = self.content.get(key)
        if value is not None and not isinstance(value, bool):
            raise DataError(self._at(key), f"{value!r} is not true or false", "correct it")
        return value

    def _partition(self) -> Partition | None:
        """Read our own settings; PFLlib writes a bare word there, and natural data nothing."""
        settings = self.content.get("partition")
        if not isinstance(settings, dict):
            return None
        try:
            return Partition(**settings)
        except TypeError as error:
            raise DataError(self._at("partition"), str(error), "write the folder again") from error

    def _at(self, key: str) -> str:
        """Return where a setting stands, for a message."""
        return f"{self.folder / CONFIG}: {key}"


def _counted(statistic: object) -> int:
    """Return one more than the largest label of PFLlib's statistic; 0 where there is none."""
    try:
        pairs = [pair for client in statistic for pair in client]  # type: ignore[attr-defined]
        labels = [int(label) for label, _ in pairs]
    except (TypeError, ValueError):
        return 0
    return max(labels, default=-1) + 1 if max(labels, default=0) < MOST_CLASSES else 0
