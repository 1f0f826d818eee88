"""What a person asks the other functions of `edgeloop` for by mistake is said, and not guessed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgeloop
from edgeloop.cli.main import main
from edgeloop.errors import ConfigError

TABLE: dict[str, Any] = {
    "title": "two",
    "question": "Does it run?",
    "source": "nobody",
    "settings": {"data": "fashion-sample", "partition": "iid", "clients": 2, "rounds": 1},
    "rows": [{"name": "FedAvg", "settings": {"algorithm": "fedavg"}}],
    "columns": [{"name": "fashion"}],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"only": {"colour": "red"}}, "only: no row and no column has 'colour'; choose one of row"),
        ({"seeds": 0}, "seeds: 0 is no whole number above 0"),
        ({"rounds": "two"}, "rounds: 'two' is no whole number above 0"),
        ({"workers": 0}, "workers: 0 is no whole number above 0"),
    ],
)
def test_a_table_runs_nothing_that_was_not_asked_for(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        edgeloop.Scenario(TABLE).run(tmp_path / "table", progress=False, **changes)
    assert not (tmp_path / "table").exists()


def test_the_command_refuses_an_unknown_key_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "har-all", "--dry-run", "--only", "rwo=FedAvg"]) == 2
    assert "no row and no column has 'rwo'; choose one of row, column" in capsys.readouterr().err


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_two_rows_of_one_name_are_refused(axis: str) -> None:
    with pytest.raises(ConfigError, match=r"two rows or columns are called '(FedAvg|fashion)'"):
        edgeloop.Scenario({**TABLE, axis: TABLE[axis] * 2})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": None}, "url: None is no text"),
        ({"token": b"abc"}, "token: is bytes, and no text"),
        ({"seconds": 0}, "seconds: 0 is no time to wait"),
    ],
)
def test_a_client_of_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        edgeloop.connect(**{"url": "http://127.0.0.1:8600", **given})


def test_a_token_may_be_a_files_whole_text() -> None:
    text = "elh-abc"
    client = edgeloop.connect("http://127.0.0.1:8600", token=f"{text}\n")
    assert client._token == text


def test_latents_of_torch_or_of_other_numbers_are_the_same() -> None:
    generator = edgeloop.load_generator()
    latents = generator.sample_latents(2, 0)
    usual = generator.synthesize(latents)
    for other in (latents.astype(np.float64), torch.tensor(latents)):
        assert np.array_equal(generator.synthesize(other), usual)  # type: ignore[arg-type]


def test_a_generators_folder_may_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(edgeloop.errors.GeneratorError, match="there is no generator"):
        edgeloop.load_generator(tmp_path / "none")


def test_a_module_that_ends_the_process_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "ends_here.py").write_text("import sys; sys.exit(3)\n")
    words = ["--data", "fashion-sample", "--partition", "iid", "--models", "ends_here:Net"]
    assert main(["simulate", "fedavg", *words]) == 2
    assert "ends_here:Net cannot be used (SystemExit: 3)" in capsys.readouterr().err


def test_a_servers_url_has_a_report_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path), "http://127.0.0.1:9/tasks/a"]) == 2
    assert "PLACE: has a server's URL among others" in capsys.readouterr().err


def test_a_served_device_has_a_name_that_a_device_may_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "device.toml"
    file.write_text('name = "a"\ntask = "t"\nfolder = "f"\n[data]\nsource = "photos"\n')
    assert main(["serve", "--config", str(file), "--name", "../b"]) == 2
    assert "name: '../b' is not allowed here" in capsys.readouterr().err


def test_a_folder_is_no_model_to_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path)]) == 2
    assert f"is a folder; give {tmp_path}/model.onnx" in capsys.readouterr().err
