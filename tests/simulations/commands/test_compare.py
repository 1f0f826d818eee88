import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from simulations.commands import compare
from simulations.results import comparison
from simulations.results.groups import group_runs
from simulations.results.runs import find
from simulations.results.seed_statistics import describe_values
from tests.simulations.runs_made_by_hand import write_run


def compared(a: Path, b: Path) -> dict[str, Any]:
    (left,), (right,) = group_runs(find([a])), group_runs(find([b]))
    return comparison.compare(left, right)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two seeds of Local, three of FedProto, on one partition."""
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a / "0", "local", accuracies=(0.25, 0.5, 0.375), by_client=(0.5, 0.25, 1.0))
    write_run(a / "1", "local", accuracies=(0.25, 0.5, 0.625), by_client=(0.5, 0.75, 1.0), seed=1)
    for seed, best in enumerate((0.75, 0.5, 0.875)):
        write_run(b / f"{seed}", accuracies=(0.0, 0.5, best), seed=seed, bytes_up=200.0, pull=5.0)
    return a, b


def test_the_command_is_registered() -> None:
    project = tomllib.loads((Path(compare.__file__).parents[2] / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["edgeloop.commands"]
    assert EntryPoint("compare", points["compare"], "edgeloop.commands").load() is compare.main


def test_every_number_by_hand(pair: tuple[Path, Path]) -> None:
    found = compared(*pair)
    assert found["settings"] == {"algorithm": ["local", "fedproto"], "pull": [None, 5.0]}
    assert found["same_partition"]
    assert found["target_accuracy"] == (0.5 + 0.625) / 2
    assert found["a"]["best_accuracy"]["mean"] == 0.5625
    assert found["a"]["final_accuracy"]["runs"] == [0.375, 0.625]
    assert found["b"]["best_accuracy"]["std"] == pytest.approx(0.19094065)  # of 0.75, 0.5, 0.875
    assert found["a"]["rounds_to_target"]["by_run"] == [None, 2]
    assert found["b"]["rounds_to_target"]["by_run"] == [2, None, 2]
    assert found["b"]["rounds_to_target"]["mean"] == 2
    assert found["a"]["bytes_up"]["mean"] == 100 * 3 * 2
    assert found["b"]["bytes_up"]["mean"] == 200 * 3 * 2
    assert found["seeds"]["seeds"] == [0, 1]
    assert found["seeds"]["final_accuracy"]["runs"] == [0.375, -0.125]


def test_clients_are_paired(pair: tuple[Path, Path]) -> None:
    clients = compared(*pair)["clients"]
    # A's means are 0.5, 0.5, 1; B's 0.5, 0.75, 1 in every run.
    assert clients["by_client"]["client-01"] == {"a": 0.5, "b": 0.75, "difference": 0.25}
    assert (clients["better"], clients["worse"]) == (1, 0)
    expected = describe_values([0.0, 0.25, 0.0])
    assert clients["difference"] == {key: expected[key] for key in ("mean", "std", "ci95")}
    assert clients["difference"]["ci95"] == pytest.approx(4.303 * 0.14433757 / 3**0.5)


def test_other_partitions_are_said_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", fingerprint="other", seed=3)
    found = compared(a, b)
    assert (found["same_partition"], found["clients"], found["seeds"]) == (False, None, None)
    assert compare.main([str(a), str(b)]) == 0
    said = capsys.readouterr()
    assert "THE PARTITIONS DIFFER" in said.err
    assert "no seed in common" in said.out
    assert "client-00" not in said.out


def test_what_a_person_sees(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(each) for each in pair]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for piece in (
        *("pull │ - │ 5.0", "0.5625 ± 0.0884", "2.0 (1 of 2 runs)", "2.0 (2 of 3 runs)"),
        *("x 2.00", "│ client-01 │ 0.5000 │ 0.7500 │ +0.2500 │"),
        *("its 95 % interval │ 0.254 to 0.746", "test samples │ 12 │ 12"),
        # The differences are 0, 0.25 and 0; B's is the better by 8.3 points, and that says nothing.
        "Whether taking part paid cannot be decided with so few test samples: +8.3 points (95 %"
        " interval -27.5 to +44.2) over 3 devices with 4 test samples each, the means of 3 runs"
        " and of 2 runs; 0 devices better and 0 worse beyond chance.",
    ):
        assert piece in said, piece


def test_json_is_the_comparison(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*(str(each) for each in pair), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(compared(*pair)))


def test_a_side_of_several_settings_is_refused(pair: tuple[Path, Path]) -> None:
    write_run(pair[1] / "other", pull=1.0)
    with pytest.raises(ValueError, match=r"B: .* differ in more than the seed: .*pull"):
        compare.main([str(each) for each in pair])
