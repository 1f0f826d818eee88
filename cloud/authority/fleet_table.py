"""A fleet as a table: a device a line, with its labels; and the same with a token for each."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from cloud.authority.tokens import Admission
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files

NAME, TASK, TOKEN = "name", "task", "token"

MOST_DEVICES = 100_000


def read_fleet(path: Path, task: str | None, life: timedelta) -> list[Admission]:
    """Read a CSV file with a header: `name`, perhaps `task`, and a column for each label.

    Args:
        path: of the file.
        task: of devices whose line names none.
        life: of the tokens.

    Raises:
        ConfigError: naming the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "give a readable file") from error
    table = csv.DictReader(io.StringIO(text, newline=""))
    if NAME not in (table.fieldnames or ()):
        raise ConfigError(str(path), "has no column name", "begin it with a line of names")
    found = list(_admissions(table, path, task, life))
    if twice := _twice([(each.task, each.names.casefold()) for each in found]):
        raise ConfigError(str(path), f"has {twice} twice", "give one another name")
    return found


def _admissions(
    table: "csv.DictReader[str]", path: Path, task: str | None, life: timedelta
) -> Iterator[Admission]:
    for row in table:
        where = f"{path}: line {table.line_num}"
        if None in row or None in row.values():
            raise ConfigError(where, "has not as many cells as the header", "fix the line")
        cells = {key.strip(): value.strip() for key, value in row.items()}
        name, own = cells.pop(NAME), cells.pop(TASK, "") or task
        if own is None:
            raise ConfigError(where, "names no task", "add a column task, or give --task")
        admission = Admission(own, name, 1, life, {k: v for k, v in cells.items() if v})
        if not admission.is_for_one:
            raise ConfigError(f"{where}: name", f"{name!r} is a pattern", "name each device")
        try:
            admission.check()
        except ConfigError as error:
            raise error.within(where) from error
        yield admission


def write_fleet(path: Path, admissions: Sequence[Admission], tokens: Sequence[str]) -> None:
    """Write a table of tokens that its user alone may read.

    Raises:
        RunError: if it cannot be written.
    """
    labels = sorted({key for each in admissions for key in each.labels})
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow([NAME, TASK, TOKEN, *labels])
    for each, token in zip(admissions, tokens, strict=True):
        table.writerow(
            [each.names, each.task, token, *(each.labels.get(key, "") for key in labels)]
        )
    with atomic_files.writing(path.parent):
        atomic_files.write(path, text.getvalue().encode(), 0o600)


def _twice(found: Sequence[tuple[str, str]]) -> str:
    known: set[tuple[str, str]] = set()
    for each in found:
        if each in known:
            return f"{each[1]} of {each[0]}"
        known.add(each)
    return ""
