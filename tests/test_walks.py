"""What `tools/walks.py` counts: where a value is handed on."""

import ast

from tools import walks

TEXT = """
class Room:
    plan: Plan
    other: int

    def use(self, plan: Plan | None, size: int) -> None:
        def inner(again: Plan) -> None: ...


def spend(epsilon):
    return send(epsilon=epsilon, other=room.spent)
"""


def found(kind: str, pattern: str) -> set[tuple[str, str]]:
    finder = walks.by_type(pattern) if kind == "type" else walks.by_name(pattern)
    return set(walks.stays(ast.parse(TEXT), finder))


def test_a_value_is_found_by_its_type() -> None:
    wanted = {("Room", "plan"), ("Room.use", "plan"), ("Room.use.inner", "again")}
    assert found("type", "Plan") == wanted
    assert found("type", "Pla") == set()


def test_a_value_is_found_by_its_name() -> None:
    assert found("name", "epsilon|spent") == {("spend", "epsilon"), ("spend", "spent")}


def test_every_walk_goes_somewhere() -> None:
    for walk in walks.WALKS:
        places, files, names = walks.count(walk)
        assert places >= files >= 1 <= names, walk.what
