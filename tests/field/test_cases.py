"""Every case of the field has tests, and `make field-cases` runs them."""

import ast
from pathlib import Path

import pytest

from tests.field.cases import CASES

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.field


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_tests(case: str) -> None:
    assert CASES[case]
    for test in CASES[case]:
        path, _, name = test.partition("::")
        assert name in functions(path)


def test_they_are_marked(request: pytest.FixtureRequest) -> None:
    """Of those that are collected here."""
    wanted = {test for tests in CASES.values() for test in tests}
    for item in request.session.items:
        if item.nodeid.partition("[")[0] in wanted:
            assert item.get_closest_marker("field"), item.nodeid
