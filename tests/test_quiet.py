"""Nothing leaves a device unasked: no library's telemetry, in any process of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from edge.agent.export import Classifier, export
from edgeloop import QUIET
from edgeloop.models.split import SplitModel
from tests import dockerfile
from tests.edge.predictors import by_head

ROOT = Path(__file__).parent.parent
COMMAND = "import sys; from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
TELL = "import json, os; print(json.dumps(dict(os.environ)))"


def fresh(home: Path, words: Sequence[str], **told: str) -> subprocess.CompletedProcess[str]:
    """Run our Python as a user whose home is empty, and who has set nothing."""
    kept = {k: v for k, v in os.environ.items() if k not in {*QUIET, "XDG_CACHE_HOME"}}
    found = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **told}
    return subprocess.run(
        [sys.executable, *words], cwd=home, env=found, capture_output=True, text=True, check=False
    )


def left(home: Path) -> list[Path]:
    """Return what onnxruntime left in a home."""
    names = ("microsoft", "onnxruntime", "deviceid")
    hidden = [path.relative_to(home) for path in home.rglob(".*")]
    below = [path.relative_to(home) for hide in hidden for path in (home / hide).rglob("*")]
    return [path for path in below if any(name in str(path).lower() for name in names)]


def test_what_is_tested_can_fail(tmp_path: Path) -> None:
    """Imported without us, and with the variable at 0, onnxruntime leaves its files."""
    fresh(tmp_path, ["-c", "import onnxruntime"])
    if not left(tmp_path):
        pytest.skip("this onnxruntime leaves nothing here by itself")
    (tmp_path / "asked").mkdir()
    asked = ["-c", "import edge.agent.predict; import onnxruntime"]
    fresh(tmp_path / "asked", asked, ORT_DISABLE_TELEMETRY="0")
    assert left(tmp_path / "asked")


@pytest.mark.parametrize(
    "module",
    [
        "edge.agent.predict",
        "cloud.aggregator.command",
        "edgeloop.generators.onnx",
        "simulations.commands.simulate",
    ],
)
def test_no_module_wakes_it(module: str, tmp_path: Path) -> None:
    fresh(tmp_path, ["-c", f"import {module}; import onnxruntime"]).check_returncode()
    assert left(tmp_path) == []


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    split = SplitModel(torch.nn.Flatten(), 4, 2, features=4)
    scores = Classifier(split, by_head, pixels=True)
    export(scores, path, shape=(1, 2, 2), class_names=("a", "b"), pixels=True, facts={})
    return path


def test_predict_leaves_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 2 2 255 abcd")
    found = fresh(tmp_path, ["-c", COMMAND, "predict", str(model), "x.pgm"])
    assert (found.stderr, found.returncode) == ("", 0)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ("generator", "show", "digits"),
        ("simulate", "fedktl", "--data", "fashion-sample", "--clients", "2", "--samples", "200",
         "--partition", "iid", "--generator", "digits", "--rounds", "1", "--models", "cnn",
         "--set", "server_epochs=2", "--out", "run"),
    ],
    ids=["generator", "fedktl"],
)  # fmt: skip
def test_a_command_leaves_nothing(words: Sequence[str], tmp_path: Path) -> None:
    found = fresh(tmp_path, ["-c", COMMAND, *words])
    assert found.returncode == 0, found.stderr
    assert left(tmp_path) == []


def test_tritons_model_leaves_nothing(tmp_path: Path) -> None:
    """The server's own Python knows no edgeloop: the file itself has to see to it."""
    (tmp_path / "triton_python_backend_utils.py").write_text("")
    (tmp_path / "model.py").write_bytes(
        (ROOT / "cloud" / "generator_service" / "triton_model.py").read_bytes()
    )
    fresh(tmp_path, ["-c", "import model"], PYTHONPATH=str(tmp_path)).check_returncode()
    assert left(tmp_path) == []


@pytest.mark.parametrize("door", ["edge", "cloud", "simulations"])
def test_every_door_turns_all_of_it_off(door: str, tmp_path: Path) -> None:
    found = json.loads(fresh(tmp_path, ["-c", f"import {door}; {TELL}"]).stdout)
    assert {name: found.get(name) for name in QUIET} == QUIET


def test_what_a_user_has_set_stays(tmp_path: Path) -> None:
    words = ["-c", f"import edgeloop; {TELL}"]
    found = json.loads(fresh(tmp_path, words, ORT_DISABLE_TELEMETRY="0").stdout)
    assert found["ORT_DISABLE_TELEMETRY"] == "0"


@pytest.mark.parametrize("target", dockerfile.IMAGES)
def test_every_image_turns_it_off(target: str) -> None:
    (variables,) = dockerfile.instructions(dockerfile.image(target), "ENV")
    assert "ORT_DISABLE_TELEMETRY=1" in variables.split()


def test_compose_turns_tritons_off() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert services["triton"]["environment"]["ORT_DISABLE_TELEMETRY"] == "1"
