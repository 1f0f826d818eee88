import json
from pathlib import Path
from typing import Any

import pytest

from edgeloop.cli.main import main
from edgeloop.errors import RunError, TakenError
from edgeloop.runtime import atomic_files
from simulations.results.folder import claim, claim_study, held

CONFIG: dict[str, Any] = {
    "rounds": 3,
    "workers": 1,
    "versions": {"torch": "2"},
    "models_by_client": {"a": "cnn"},
}


def test_a_new_folder_becomes_the_runs(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    claim(folder, CONFIG)
    assert json.loads((folder / "run.json").read_text()) == CONFIG
    claim(folder, {**CONFIG, "workers": 2, "idle": "host"})  # the same run: neither changes results


def test_another_run_is_told_by_its_keys(tmp_path: Path) -> None:
    claim(tmp_path, CONFIG)
    other = {**CONFIG, "rounds": 4, "versions": {"torch": "3"}, "models_by_client": {"a": "x" * 50}}
    with pytest.raises(RunError) as raised:
        claim(tmp_path, other)
    assert "rounds (3 there, 4 here)" in str(raised.value)
    assert "versions.torch (2 there, 3 here), models_by_client;" in str(raised.value)


def test_a_run_that_another_version_began_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim(tmp_path, CONFIG)
    later = {**CONFIG, "versions": {"torch": "3"}}
    claim(tmp_path, later)
    assert "versions.torch (2 there, 3 here)" in caplog.text
    atomic_files.write_json(tmp_path / "summary.json", {})
    with pytest.raises(RunError, match=r"another run: versions\.torch"):
        claim(tmp_path, later)


OWN = {
    **CONFIG,
    "versions": {"torch": "2", "python": "3.11.9", "edgeloop": "1"},
    "code": {"own-net": "a1"},
    "code_weights": {"own-net": "b1"},
}


@pytest.mark.parametrize(
    ("versions", "goes_on"),
    [
        ({"python": "3.11.10"}, False),
        ({"python": "3.12.1"}, True),
        ({"torch": "3"}, True),
        ({"edgeloop": "2"}, True),
    ],
)
def test_own_code_of_other_versions_is_not_compared(
    versions: dict[str, str], goes_on: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim(tmp_path, OWN)
    later = {**OWN, "versions": {**OWN["versions"], **versions}, "code": {"own-net": "a2"}}
    if goes_on:
        claim(tmp_path, later)
        assert "code.own-net (a1 there, a2 here); its last digits" in caplog.text
        assert "whether your own code has changed cannot be told" in caplog.text
    else:
        with pytest.raises(RunError, match=r"another run: .*code\.own-net \(a1 there, a2 here\)"):
            claim(tmp_path, later)
    with pytest.raises(RunError, match=r"code_weights\.own-net \(b1 there, b2 here\)"):
        claim(tmp_path, {**later, "code_weights": {"own-net": "b2"}})


def test_a_run_of_before_there_were_digests_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    claim(tmp_path, {key: OWN[key] for key in OWN if not key.startswith("code")})
    claim(tmp_path, OWN)
    assert "code.own-net (nothing there, a1 here)" in caplog.text
    assert "code_weights.own-net (nothing there, b1 here)" in caplog.text


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    claim(tmp_path, CONFIG)
    atomic_files.write_json(tmp_path / "summary.json", {})
    with pytest.raises(RunError, match="finished"):
        claim(tmp_path, CONFIG)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds no run"):
        claim(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        claim(tmp_path / "out", CONFIG)


def test_writing_leaves_no_other_file(tmp_path: Path) -> None:
    atomic_files.write(tmp_path / "a", b"old")
    atomic_files.write(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]


def test_a_run_of_before_an_option_was_is_one_without_it(tmp_path: Path) -> None:
    claim(tmp_path, {**CONFIG, "hyperparameters": {"pull": 1.0}})
    off = {**CONFIG, "shuffle": False, "hyperparameters": {"pull": 1.0, "own_prior": False}}
    claim(tmp_path, off)
    with pytest.raises(RunError, match=r"another run: shuffle \(False there, True here\)"):
        claim(tmp_path, {**off, "shuffle": True})
    with pytest.raises(RunError, match=r"hyperparameters\.own_prior \(False there, True here\)"):
        claim(tmp_path, {**CONFIG, "hyperparameters": {"pull": 1.0, "own_prior": True}})


@pytest.mark.parametrize("take", [claim, claim_study])
def test_what_was_killed_as_it_began_begins_anew(take: Any, tmp_path: Path) -> None:
    for name in ("run.json", "study.json"):
        (tmp_path / f".{name}.new").write_text("{ha")
    take(tmp_path, {"seed": 1})
    take(tmp_path, {"seed": 1})
    with pytest.raises(RunError, match="seed"):
        take(tmp_path, {"seed": 2})


def test_a_folder_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with (
        held(place),
        pytest.raises(TakenError, match="another process is at work in it"),
        held(place),
    ):
        pass
    with held(place):
        assert list(place.iterdir()) == []  # no file says so


def test_a_second_run_into_a_folder_at_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "fashion-sample", "--partition", "iid", "--clients", "2", "--samples", "200"]
    place = tmp_path / "run"
    with held(place):
        assert main(["simulate", "local", *words, "--rounds", "1", "--out", str(place)]) == 73
    assert "another process is at work in it; wait until it has ended" in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_claims_to_say(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with held(tmp_path / "file"), pytest.raises(RunError, match="cannot be written"):
        claim(tmp_path / "file", {})
