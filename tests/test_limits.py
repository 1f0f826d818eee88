"""The limits of CONTRIBUTING.md: bodies of functions are short, and so are files."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEDIAN, NINE_IN_TEN, LONGEST, FILE = 5, 15, 40, 320

REASON = re.compile(r"^# Over 320 lines: \w.{20,}\.$", re.MULTILINE)
"""How a longer file says why, below its docstring."""


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not in a git repository: which files are the project's is not known")
    files = [ROOT / line for line in listed.stdout.splitlines()]
    return [file for file in files if file.exists()]


def bodies(text: str) -> Iterator[tuple[int, int]]:
    """Yield each function's line, and how many lines its body has without its docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            rest = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (rest[-1].end_lineno or 0) - rest[0].lineno + 1 if rest else 0
            yield node.lineno, lines


def share(counts: list[int], part: float) -> int:
    """Return the smallest number that this part of the counts do not exceed."""
    return sorted(counts)[max(0, -int(-len(counts) * part // 1) - 1)]


def test_a_body_is_counted_from_its_first_statement_to_its_last() -> None:
    text = (
        'def f():\n    """One.\n\n    Two.\n    """\n    x = 1\n\n    return (\n        x\n    )\n'
    )
    assert list(bodies(text)) == [(1, 5)]
    assert list(bodies('def f():\n    """Nothing."""\n')) == [(1, 0)]
    assert [share([1, 2, 3, 4], part) for part in (0.5, 0.9, 1.0)] == [2, 4, 4]


def test_bodies_of_functions_are_short() -> None:
    found = {
        f"{file.relative_to(ROOT)}:{line}": lines
        for file in sources()
        for line, lines in bodies(file.read_text())
    }
    assert {where: lines for where, lines in found.items() if lines > LONGEST} == {}
    counts = list(found.values())
    assert share(counts, 0.5) <= MEDIAN
    assert share(counts, 0.9) <= NINE_IN_TEN


def test_a_longer_file_says_why() -> None:
    for file in sources():
        text = file.read_text()
        if len(text.splitlines()) > FILE:
            assert REASON.search(text), f"{file.relative_to(ROOT)} gives no reason for its length"


def test_contributing_names_the_limits() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert f"median at most {MEDIAN} lines, nine in ten at most {NINE_IN_TEN}," in text
    assert f"none over {LONGEST}. Files: at most {FILE} lines." in text
