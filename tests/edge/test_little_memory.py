"""A device's work in little memory: a limit of the kernel's, and what was resident at most.

The limit is on memory that a process may write for itself (`RLIMIT_DATA`, as `prlimit --data`), so
that the kernel refuses more. `RLIMIT_AS` would count the 585 MiB that `import torch` maps of its
libraries, of which most is never read: no process with torch can have 512 MiB of that.
"""

import json
import subprocess
import sys

import pytest

WORK = """
import json, resource, sys, tempfile
from pathlib import Path
name, shape, classes, limit = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))

import torch
from edge.agent.export import Classifier, export
from edge.agent.predict import open_model
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedproto
from edgeloop.models import build

torch.set_num_threads(1)
model = build(name, tuple(shape), classes, width=512, seed=0)
inputs = torch.rand(64, *shape, generator=torch.Generator().manual_seed(0))
labels = torch.arange(64) % classes
algorithm = fedproto.build(fedproto.Config(classes=classes, width=512))
_, broadcast = algorithm.start()
for _ in range(2):
    upload = algorithm.train(model, Batches(inputs, labels, 16), broadcast)
    _, broadcast = algorithm.aggregate(algorithm.start()[0], [upload])
classifier = Classifier(model, lambda model, inputs: model(inputs)[1], pixels=False)
names = [str(number) for number in range(classes)]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "model.onnx")
    export(classifier, path, shape=tuple(shape), class_names=names, pixels=False, facts={})
    found = open_model(path).scores(inputs.numpy())
(most,) = (line.split() for line in open("/proc/self/status") if line.startswith("VmHWM"))
known = broadcast.known_C.tolist()
print(json.dumps({"MiB": int(most[1]) / 1024, "scores": found.shape, "known": known}))
"""


def work(name: str, shape: tuple[int, ...], classes: int, limit: int) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", WORK, json.dumps([name, shape, classes, limit])]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit, and /proc, are Linux's")
@pytest.mark.parametrize(
    ("name", "shape", "classes", "limit"),
    [("harcnn-s1", (9, 1, 128), 6, 400), ("cnn", (3, 32, 32), 10, 512)],
)
def test_training_and_export_fit(
    name: str, shape: tuple[int, ...], classes: int, limit: int
) -> None:
    output, errors = (process := work(name, shape, classes, limit)).communicate(timeout=120)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert found["scores"] == [64, classes]
    assert found["known"] == [True] * classes
    assert found["MiB"] < limit


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_the_limit_is_one() -> None:
    process = work("cnn", (3, 32, 32), 10, 180)
    process.communicate(timeout=120)
    assert process.returncode != 0
