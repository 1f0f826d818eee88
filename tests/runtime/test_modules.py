import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop.runtime import modules

HEAVY = '''"""Says what it is.

And more.
"""

import not_installed_anywhere
from json import dumps as text

FACTOR = 2
COMMON = {"a": 1}
INFO = text({**COMMON, "b": FACTOR * 2})


def never() -> None:
    raise RuntimeError(not_installed_anywhere)


raise RuntimeError("imported")
'''


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that cannot be imported, in a package that cannot either."""
    (tmp_path / "outer_of_heavy").mkdir()
    (tmp_path / "outer_of_heavy" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "outer_of_heavy" / "heavy.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(tmp_path)
    return "outer_of_heavy.heavy"


def test_what_it_says_is_read_without_importing(heavy: str) -> None:
    assert modules.docstring(heavy) == "Says what it is.\n\nAnd more."
    assert not {"outer_of_heavy", heavy} & set(sys.modules)


def test_a_constant_runs_what_it_needs_only(heavy: str) -> None:
    assert modules.constant(heavy, "INFO") == '{"a": 1, "b": 4}'
    assert not {"outer_of_heavy", heavy} & set(sys.modules)


def test_a_module_that_is_imported_is_asked_itself() -> None:
    assert modules.constant(modules.__name__, "find") is modules.find


@pytest.mark.parametrize("name", ["nowhere.at.all", "outer_of_heavy.nowhere", "json.decoder.more"])
def test_what_is_not_there(heavy: str, name: str) -> None:
    assert modules.docstring(name) is None
    with pytest.raises(AttributeError, match="to be read"):
        modules.constant(name, "INFO")
    with pytest.raises(AttributeError, match="to be read"):
        modules.constant(heavy, "NOTHING")


@pytest.mark.parametrize("source", ["def", "a\0b"])
def test_what_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (tmp_path / f"broken_{len(source)}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert modules.docstring(f"broken_{len(source)}") is None


def test_algorithms_are_described_without_torch() -> None:
    program = (
        "import sys; from edgeloop import algorithms"
        "; assert all(algorithms.info(name).title for name in algorithms.names())"
        "; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_name_that_is_only_bound_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
from dataclasses import dataclass

import torch_that_is_not_here


def pull(x):
    return torch_that_is_not_here.pull(x)


@dataclass
class Config:
    pull: float = 1.0
"""
    (tmp_path / "bound_alike.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert modules.constant("bound_alike", "Config")().pull == 1.0
