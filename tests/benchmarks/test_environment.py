import signal
import sys
from pathlib import Path

import pytest

from benchmarks import environment
from edgeloop.errors import ConfigError


def test_a_table_in_markdown() -> None:
    assert environment.markdown(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |\n"


def test_a_text_goes_between_its_lines_again_and_again(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- it -->\nold\n<!-- /it -->\nafter\n")
    for _ in range(2):
        environment.embed(document, "it", "new\n")
    assert document.read_text() == "before\n<!-- it -->\n\nnew\n\n<!-- /it -->\nafter\n"


def test_a_document_without_the_lines_is_told(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("nothing here\n")
    with pytest.raises(ConfigError, match="no place for it"):
        environment.embed(document, "it", "new\n")


def test_data_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.har("given") == "given"
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="data: there is no folder"):
        environment.har(None)
    (tmp_path / "har").mkdir()
    assert environment.har(None) == str(tmp_path / "har")


def test_the_machine_is_described() -> None:
    assert {"processor", "cores", "torch"} <= set(environment.machine())


def test_a_stop_ends_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["it"])
    try:
        assert environment.run(stopped, "it") == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "stopped\n"
