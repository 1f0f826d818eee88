"""What a reader leaves out of a source, counted by kind and logged in one line."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)

_NAMED = 3  # folders by name, of each kind


class SkippedFiles:
    """Counts what is left out of one source."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._folders: defaultdict[str, list[str]] = defaultdict(list)

    def folder(self, path: Path, why: str = "") -> None:
        """Count a folder, and say why: a clause that follows `folder`."""
        self._folders[" hidden" if is_hidden(path) else why].append(path.name)

    def others(self, folder: Path, read: Collection[Path], why: str = "") -> None:
        """Count all that a folder holds beside what is read; `why` is of folders."""
        known = set(read)
        for path in sorted(folder.iterdir()):
            if path in known:
                continue
            if path.is_dir():
                self.folder(path, why)
            else:
                self._files[_kind(path)] += 1

    def __str__(self) -> str:
        parts = [f"{count} {kind}" for kind, count in sorted(self._files.items())]
        parts += [_folders(why, names) for why, names in sorted(self._folders.items())]
        return ", ".join(parts)

    def log_summary(self, source: Path) -> None:
        """Say in one line what was left out, if anything was."""
        if str(self):
            log.warning("%s: left out: %s", source, self)


def is_hidden(path: Path) -> bool:
    """Return whether a name is a system's or a program's, not the user's: it is never read."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device: reading it might never end."""
    return not path.is_file() and not path.is_dir() and path.exists()


def _kind(path: Path) -> str:
    if is_hidden(path):
        return "hidden"
    return "no regular file" if is_special(path) else path.suffix.lower() or "without a suffix"


def _folders(why: str, names: list[str]) -> str:
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    if why == " hidden":
        return f"{len(names)} hidden {_word(names)} ({listed})"
    return f"{len(names)} {_word(names)}{why and ' '}{why} ({listed})"


def _word(names: list[str]) -> str:
    return "folder" if len(names) == 1 else "folders"
