"""Imports torchvision's networks as bases where torchvision is: `test_vision_bases.py` runs it.

The weights are drawn. It writes one JSON object of what it found.
"""

import hashlib
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate

from cloud.generator_service.bases.command import main as base
from edgeloop import bases
from edgeloop.bases import manifest
from edgeloop.bases.running import Base
from edgeloop.errors import EdgeloopError

Values = np.ndarray[Any, Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKS = {  # torchvision's name -> where its last layer is
    "resnet18": "fc",
    "mobilenet_v3_small": "classifier.3",
    "vit_b_32": "heads.head",
    "googlenet": "fc",
    "squeezenet1_1": "classifier.1",
}
SMALL = ["--shape", "3x32x32", "--images", "12"]


def drawn(name: str, classes: int = 1000) -> nn.Module:
    """Return a network with drawn weights, and statistics that are not those of the start."""
    torch.manual_seed(1)
    options = {"init_weights": False} if name == "googlenet" else {}
    model: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **options
    )
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.get_buffer("running_mean"), -0.1, 0.1)
            nn.init.uniform_(each.get_buffer("running_var"), 0.8, 1.2)
    return model.eval()


def expected(model: nn.Module, last: str, inputs: Values, side: int) -> Values:
    """Return what torchvision's network makes of clients' inputs before its last layer."""
    if hasattr(model, "transform_input"):
        setattr(model, "transform_input", True)  # noqa: B010 - a module's plain attribute
    model.set_submodule(last, nn.Identity())
    unit = (torch.from_numpy(inputs) + 1) / 2
    sized = interpolate(unit, size=(side, side), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        made: Values = model((sized - mean) / std).flatten(1).numpy()
    return made


def run(*words: str) -> tuple[int, str]:
    """Run `edgeloop base`; return its exit code and what it says is wrong."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
        try:
            code = base(list(words))
        except EdgeloopError as error:  # as the command `edgeloop` tells it, which is not installed
            return 2, f"error: {error}\n"
    return code, said.getvalue()


def difference(folder: Path, name: str, last: str) -> dict[str, Any]:
    """Import a network; tell how far its features are from torchvision's."""
    model = drawn(name)
    path = folder / f"{name}.pth"
    torch.save(model.state_dict(), path)
    more = ["--torchvision", name, "--weights", str(path), "--dims", "0", "--name", name]
    code, said = run("import", *more, *SMALL)
    assert code == 0, said
    place = bases.folder_of(name)
    found = Base.read(place)
    inputs = np.random.default_rng(2).uniform(-1, 1, (3, 3, 32, 32)).astype(np.float32)
    wanted = expected(model, last, inputs, 224)
    return {
        "dims": [found.dims, wanted.shape[1]],
        "difference": float(np.abs(found.features(inputs) - wanted).max()),
        "size": float(np.abs(wanted).max()),
        "varies": bool(found.variances_D.sum() > 0),
        "source": manifest.read(place)[0].source,
    }


def projected(folder: Path) -> float:
    """Tell how far a projected, grey, smaller one is from a product of torchvision's numbers."""
    model = drawn("resnet18", classes=7)
    torch.save({"state_dict": model.state_dict()}, folder / "seven.pth")
    more = ["--torchvision", "resnet18", "--weights", str(folder / "seven.pth"), "--size", "64x64"]
    grey = ["--shape", "1x28x28", "--images", "30", "--dims", "8", "--name", "grey"]
    code, said = run("import", *more, *grey)
    assert code == 0, said
    inputs = np.random.default_rng(2).uniform(-1, 1, (20, 1, 28, 28)).astype(np.float32)
    raw = expected(model, "fc", np.repeat(inputs, 3, 1), 64)
    found = Base.read(bases.folder_of("grey")).features(inputs)
    design = np.concatenate([raw, np.ones((len(raw), 1))], 1)
    fitted = design @ np.linalg.lstsq(design, found, rcond=None)[0]
    return float(np.abs(fitted - found).max())


def refused(folder: Path) -> dict[str, str]:
    """Return what is said of what cannot be imported."""
    other = folder / "other.pth"
    torch.save(drawn("mobilenet_v3_small").state_dict(), other)
    named = folder / "resnet18-00000000.pth"
    named.write_bytes(other.read_bytes())
    (folder / "half.pth").write_bytes(other.read_bytes()[:100])
    torch.save({"a": 1}, folder / "number.pth")
    asked = {
        "unknown": ["--torchvision", "resnet19"],
        "absent": ["--torchvision", "resnet18"],
        "nowhere": ["--torchvision", "resnet18", "--weights", str(folder / "nothing.pth")],
        "another": ["--torchvision", "resnet18", "--weights", str(other)],
        "damaged": ["--torchvision", "resnet18", "--weights", str(named)],
        "half": ["--torchvision", "resnet18", "--weights", str(folder / "half.pth")],
        "number": ["--torchvision", "resnet18", "--weights", str(folder / "number.pth")],
        "size": ["--torchvision", "vit_b_32", "--size", "64x64", "--weights"],
    }
    asked["size"].append(str(folder / "vit_b_32.pth"))
    told = {}
    for key, words in asked.items():
        code, said = run("import", *words, *SMALL, "--name", "a")
        assert code == 2, key
        told[key] = said
    assert not (bases.store() / "a").exists()
    return told


def cached(folder: Path) -> str:
    """Import with weights that are in torch hub's cache; return their source."""
    entry = torchvision.models.ResNet18_Weights.DEFAULT
    path = Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2])
    path.parent.mkdir(parents=True)
    content = (folder / "resnet18.pth").read_bytes()
    path.write_bytes(content)
    code, said = run("import", "--torchvision", "resnet18", *SMALL, "--name", "hub")
    assert code == 2
    assert "is damaged" in said, "it is another file than torchvision's, whose name says its digest"
    digest = hashlib.sha256(content).hexdigest()[:8]
    type(entry).url = property(lambda _: f"https://example.org/resnet18-{digest}.pth")
    path.rename(path.with_name(f"resnet18-{digest}.pth"))
    words = ["--torchvision", "resnet18", *SMALL, "--name", "hub", "--dims", "4"]
    code, said = run("import", *words)
    assert code == 0, said
    return manifest.read(bases.folder_of("hub"))[0].source.replace(digest, "DIGEST")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["EDGELOOP_HOME"] = str(folder / "home")
        torch.hub.set_dir(str(folder / "hub"))
        found = {
            "networks": {name: difference(folder, name, NETWORKS[name]) for name in NETWORKS},
            "projected": projected(folder),
            "refused": refused(folder),
            "cached": cached(folder),
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
