"""docs/python.md: its code runs as it stands there, block after block."""

import re
from pathlib import Path

import pytest

import edgeloop

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 7
    code = "\n".join(blocks)
    space = {"__name__": "page"}
    exec(compile(code, "docs/python.md", "exec"), space)  # noqa: S102 - the page's own
    assert (tmp_path / "kept" / "summary.json").is_file()
    assert isinstance(space["again"], edgeloop.Run)


def test_the_table_has_every_name() -> None:
    told = set(re.findall(r"^\| `edgeloop\.(\w+)", PAGE, re.MULTILINE))
    assert told == {name for name in dir(edgeloop) if name in edgeloop._PLACES}
