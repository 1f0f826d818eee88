import json
from pathlib import Path

import pytest

from edgeloop.errors import ConfigError, RunError
from simulations.engine.run import simulate
from simulations.results.groups import differing_settings, group_runs
from simulations.results.runs import find
from simulations.settings import RunSettings
from tests.simulations.runs_made_by_hand import CLIENTS, save, write_run


def test_names_tell_groups_of_one_algorithm_apart(tmp_path: Path) -> None:
    for number, lr in enumerate((0.1, 0.2)):
        write_run(tmp_path / f"{number}", hyperparameters={"lr": lr, "seed": 0})
    write_run(tmp_path / "2", "local")
    write_run(tmp_path / "3", "local", generator="x" * 30)
    names = [group.name for group in group_runs(find([tmp_path]))]
    assert names == ["FedProto, lr 0.1", "FedProto, lr 0.2", "Local, generator None", "Local"]


def test_runs_of_before_an_option_was_are_runs_without_it(tmp_path: Path) -> None:
    for number, more in enumerate(({}, {"own_prior": False}, {"own_prior": True})):
        write_run(tmp_path / f"{number}", seed=number, hyperparameters={"lr": 0.1, **more})
    groups = group_runs(find([tmp_path]))
    assert [group.name for group in groups] == [
        "FedProto, own_prior False",
        "FedProto, own_prior True",
    ]
    assert [run.seed for run in groups[0].runs] == [0, 1]


def test_what_a_group_says(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=5, workers=1, options={"lr": 0.01}, history=True)
    write_run(tmp_path / "b", seed=2, by_client=(0.0, 0.25, 1.0), accuracies=(0.25, 0.5, 0.25))
    (group,) = group_runs(find([tmp_path]))
    assert [run.seed for run in group.runs] == [2, 5]
    assert group.by_client() == dict(zip(CLIENTS, (0.25, 0.5, 1.0), strict=True))
    assert group.curves() == {0: [0.25, 0.0], 1: [0.5, 0.5], 2: [0.25, 0.75]}
    assert group.runs[0].bytes("up") == 100 * 3 * 2
    assert group.runs[0].columns(["auc", "seconds"]) == {
        "auc": {},
        "seconds": {0: 1.5, 1: 1.5, 2: 1.5},
    }


def test_differing_settings_have_every_side_s_value() -> None:
    found = differing_settings(
        [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}, {"a": 1, "b": 2, "c": 4}]
    )
    assert found == {"b": [2, 3, 2], "c": [None, None, 4]}


def test_a_hyperparameter_that_another_algorithm_lacks_has_no_value() -> None:
    tgp, proto = {"algorithm": "fedtgp"}, {"algorithm": "fedproto"}
    found = differing_settings([tgp | {"hyperparameters.network": True}, proto])
    assert found == {"algorithm": ["fedtgp", "fedproto"], "hyperparameters.network": [True, None]}


def test_a_hyperparameter_that_an_older_run_lacks_has_the_older_value() -> None:
    run = {"algorithm": "class-statistics"}
    found = differing_settings([run, run | {"hyperparameters.network": True}])
    assert found == {"hyperparameters.network": [False, True]}
    assert not differing_settings([run, run | {"hyperparameters.network": False}])


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name) for name in "ab"]
    with pytest.raises(ConfigError, match="have the same settings and seed 0; give one of them"):
        group_runs(find(folders))


def test_folders_without_a_finished_run_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        find([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="holds no finished run"):
        find([tmp_path])
    save(tmp_path / "run.json", {})
    with pytest.raises(RunError, match="not finished; run its command again"):
        find([tmp_path])


def test_a_damaged_summary_names_the_key(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    summary = json.loads((folder / "summary.json").read_text())
    save(folder / "summary.json", {**summary, "best_accuracy": "much"})
    with pytest.raises(RunError, match=r"summary.json: is damaged \(best_accuracy"):
        find([folder])
    (folder / "summary.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        find([folder])


def test_a_real_run_is_read_whole(settings: RunSettings, tmp_path: Path) -> None:
    summary = simulate(settings, tmp_path / "run", lambda done, _: None)
    (run,) = find([tmp_path / "run"])
    assert (run.title, run.data, run.rounds) == ("FedTGP", "tiny", 2)
    partition = run.partition()
    assert partition is not None
    for name, sizes in summary["samples_by_client"].items():
        counts = {part: sum(each) for part, each in partition.clients[name].items()}
        assert counts == sizes
    down = run.columns(["bytes_down"])["bytes_down"]
    assert run.bytes("down") == down[0] + down[1]
