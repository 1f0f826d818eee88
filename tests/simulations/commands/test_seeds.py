import json
from pathlib import Path

import pytest

from edgeloop.cli.main import main
from edgeloop.errors import ConfigError
from simulations.commands.seeds import parse_seeds


def test_how_many_or_which() -> None:
    assert parse_seeds("3", 5) == [5, 6, 7]
    assert parse_seeds("0, 4,2", 5) == [0, 4, 2]
    assert parse_seeds("7,", 5) == [7]


@pytest.mark.parametrize("word", ["", "a", "0", "-1", "1.5", "0,0", "0,x", "1001", f"1,{2**63}"])
def test_what_names_none(word: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(word, 0)


def test_a_run_for_each_with_mean_and_spread(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"simulate local --data {images} --width 16 --rounds 1 --workers 1 --seeds 1,4"
    out = tmp_path / "several"
    assert main([*words.split(), "--out", str(out)]) == 0
    found = json.loads((out / "seeds.json").read_text())
    runs = [json.loads((out / f"seed-{seed}/summary.json").read_text()) for seed in (1, 4)]
    last = [run["final_accuracy"] for run in runs]
    assert [run["config"]["seed"] for run in runs] == found["seeds"] == [1, 4]
    assert found["final_accuracy"]["runs"] == last
    assert found["final_accuracy"]["mean"] == pytest.approx(sum(last) / 2)
    assert found["final_accuracy"]["std"] == pytest.approx(abs(last[0] - last[1]) / 2**0.5)
    shown = capsys.readouterr()
    assert "mean" in shown.out + shown.err
    # Again: nothing runs anew; with more rounds each is extended.
    written = (out / "seed-1/summary.json").read_bytes()
    assert main([*words.split(), "--out", str(out)]) == 0
    assert (out / "seed-1/summary.json").read_bytes() == written
    longer = words.replace("--rounds 1", "--rounds 2")
    assert main([*longer.split(), "--out", str(out)]) == 0
    assert len(json.loads((out / "seed-4/summary.json").read_text())["accuracy_by_round"]) == 3
    assert main(["compare", str(out), str(out)]) == 0
