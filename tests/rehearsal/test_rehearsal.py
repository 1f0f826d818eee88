"""The rehearsal on a cluster says what it needs, and what it hands to a cluster is right."""

import tomllib
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings
from tests.cloud.operator import schemas
from tests.cloud.operator.cluster import schema
from tests.helm import containers
from tests.rehearsal import places, play
from tests.rehearsal.play import Play


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all programs that there are."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return folder


def program(folder: Path, name: str, text: str = "exit 0") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ((), None),
        (("kind",), None),
        (("docker",), None),
        (("docker", "kind"), "one of kind's"),
        (("podman", "k3d"), "one of k3d's"),
        (("podman",), "none: the pods as podman containers"),
    ],
)
def test_the_first_place_at_hand(programs: Path, there: tuple[str, ...], words: str | None) -> None:
    for name in there:
        program(programs, name)
    found = places.choose()
    assert (None if found is None else found.words) == words


def test_somebodys_cluster_is_preferred(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docker", "kind", "kubectl"):
        program(programs, name)
    monkeypatch.setenv("KUBECONFIG", "/k")
    found = places.choose()
    assert found is not None
    assert (found.words, found.make) == ("the one of /k", ())


def test_what_is_handed_to_the_cluster() -> None:
    whole = schemas.filled(schema("federatedtasks"), play.task())
    named = {**whole, "metadata": {"name": "r"}}
    assert schemas.problems(schema("federatedtasks"), named, None) == []
    config, pod = play.inside("i")
    read = DeviceSettings.model_validate(tomllib.loads(config["data"]["device.toml"]))
    assert (read.name, read.task) == ("inside", "rehearsal.two-devices")
    mounts = {each["name"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts == {each["name"] for each in pod["spec"]["volumes"]}


def test_a_step_that_fails_ends_it_with_everything_taken_away(programs: Path) -> None:
    notes = programs / "notes"
    program(programs, "helm", f'echo "helm $*" >> {notes}; echo \'{{"appVersion": "1"}}\'')
    refuses = 'case "$*" in *apply*) echo no >&2; exit 1;; esac'
    program(programs, "kubectl", f'echo "kubectl $*" >> {notes}; {refuses}')
    verdict = Play({"PATH": f"{programs}:/bin:/usr/bin"}, "r.example").run()
    lines = list(verdict.lines())
    assert [line[:6] for line in lines[:-1]] == ["ok    ", "FAILED", "ok    "]
    assert lines[1].endswith("a task and a device inside begin: no")
    assert lines[-1] == "verdict: it does not run on this cluster"
    asked = notes.read_text().splitlines()
    assert "helm -n rehearsal install edgeloop" in asked[0]
    assert asked[-1].startswith("kubectl -n rehearsal delete namespace")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("exit 1", "there is no image localhost/edgeloop-generator-service:"),
        ('[ "$1" = image ] || { echo "Error: no netavark" >&2; exit 125; }', "no netavark"),
    ],
)
def test_containers_that_cannot_run_end_in_a_verdict(
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: str,
    said: str,
) -> None:
    program(programs, "podman", answers)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    assert containers.main() == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert said in lines[-1]
    assert last == "verdict: the pods do not run as containers here"
