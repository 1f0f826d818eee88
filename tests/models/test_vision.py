"""Torchvision's networks, in an environment of their own: it needs another torch than ours."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgeloop.errors import ModelError
from edgeloop.models import build

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, torch
from edgeloop import models

found = {}
inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
for name in sorted(models.TORCHVISION):
    model = models.build(name, (3, 32, 32), 10, 512)
    before = [each.clone() for each in model.own()]
    optimizer = torch.optim.SGD(model.own(), lr=0.01)
    features, logits = model.train()(inputs)
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    optimizer.step()
    found[name] = {
        "features": models.feature_width(name, (3, 32, 32)),
        "parameters": sum(each.numel() for each in model.base.parameters()),
        "shapes": [list(features.shape), list(logits.shape)],
        "learns": not all(map(torch.equal, before, model.own())),
        "dropout": [type(each).__name__ for each in model.base.modules()].count("Dropout"),
    }
print(json.dumps(found))
"""
# D, and millions of parameters of the base, by layer arithmetic.
EXPECTED = {
    "resnet18": (512, 11.18),
    "resnet34": (512, 21.28),
    "resnet50": (2048, 23.51),
    "resnet101": (2048, 42.50),
    "resnet152": (2048, 58.14),
    "googlenet": (1024, 5.60),
    "mobilenetv2": (1280, 2.22),
    "vit-b-16": (768, 85.65),
    "vit-b-32": (768, 87.42),
}


def python() -> str:
    """Return the interpreter that has torchvision; in CI it is an error if there is none."""
    done = subprocess.run([ROOT / "tools" / "vision.sh"], capture_output=True, text=True)
    if done.returncode:
        problem = f"no torchvision: {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    return done.stdout.strip()


@pytest.mark.vision
@pytest.mark.timeout(900)
def test_every_network_of_torchvision_is_cut_and_learns() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python(), "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert set(found) == set(EXPECTED)
    for name, (features, millions) in EXPECTED.items():
        each = found[name]
        assert each["features"] == features, name
        assert each["parameters"] / 1e6 == pytest.approx(millions, abs=0.06), name
        assert each["shapes"] == [[2, 512], [2, 10]], name
        assert each["learns"], name
    # Dropout before the classifier stays in the base.
    assert found["googlenet"]["dropout"] == found["mobilenetv2"]["dropout"] == 1


def test_without_torchvision_the_remedy_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"resnet18: needs torchvision.*pip install 'edgeloop\[vision"
    ):
        build("resnet18", (3, 32, 32), 10)


def test_torchvisions_networks_take_three_colours() -> None:
    with pytest.raises(ModelError, match=r"googlenet: does not fit inputs of shape \(1, 32, 32\)"):
        build("googlenet", (1, 32, 32), 10)
