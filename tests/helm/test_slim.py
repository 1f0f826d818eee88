"""What `tools/slim_site.py` leaves of an environment still does an image's work.

Each tree has what the Dockerfile's stage would leave of the packages that are installed here, and
Python runs without any others: `-S` adds no site-packages.
"""

import importlib.util
import os
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edgeloop.privacy import accounting
from edgeloop.runtime.config import PrivacySettings
from tests import dockerfile, one_device
from tests.helm.chart import ROOT
from tests.processes import running
from tests.world import StartBroker
from tools import slim_site

COMMAND = "import sys; from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
PRIVATE = """
import torch
from edgeloop.privacy import accounting
from edgeloop.runtime.config import PrivacySettings
weights = torch.ones(3)
slopes = torch.func.vmap(torch.func.grad(lambda w, x: (w * x).sum()), (None, 0))
assert slopes(weights, torch.ones(4, 3)).shape == (4, 3)
free = torch.nn.Parameter(weights)
free.sum().backward()
torch.optim.Adam([free]).step()
cost = accounting.round_cost(
    PrivacySettings(), samples=100, batch_size=10, epochs=1, prototypes=True
)
print(accounting.epsilon(cost, 1e-5))
"""
LEARNS = """
import pkgutil, importlib, torch
import edgeloop.algorithms, edgeloop.models, edgeloop.generators.triton
for each in pkgutil.iter_modules(edgeloop.algorithms.__path__, "edgeloop.algorithms."):
    importlib.import_module(each.name)
weights = torch.nn.Parameter(torch.ones(3))
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
    weights.sum().backward()
    kind([weights], 0.1).step()
assert torch.linalg.svd(torch.ones(2, 3))[1].shape == (2,)
"""
REACHES = """
import io, onnx.checker, numpy, sqlalchemy
from onnx import TensorProto, helper
from PIL import Image
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from prometheus_client import CollectorRegistry, Counter, generate_latest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException
from cloud.aggregator import database
from edgeloop.errors import UnavailableError

for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    assert Image.open(file).convert("L").resize((2, 2)).size == (2, 2)
value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
other = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
node = helper.make_node("Identity", ["a"], ["b"])
onnx.checker.check_model(helper.make_model(helper.make_graph([node], "g", [value], [other])))
registry = CollectorRegistry()
Counter("a", "b", registry=registry).inc()
assert b"a_total 1.0" in generate_latest(registry)
OTLPSpanExporter("http://127.0.0.1:9/").shutdown()
try:
    InferenceServerClient("127.0.0.1:9").is_server_live()
except InferenceServerException as error:
    print(error.status())
try:
    database.connect("postgresql://a@127.0.0.1:9/b", 1.0)
except UnavailableError as error:
    print(error)
"""


def environment(site: Path) -> dict[str, str]:
    """Return one that has a tree's packages, and keeps their bytecode there."""
    own = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}"}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    return own


def run(site: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-S", "-c", code, *words]
    return subprocess.run(line, env=environment(site), capture_output=True, text=True, check=False)


def give_bytecode(place: Path) -> None:
    """Link what Python has compiled of the same files already: an image compiles it, too."""
    for path in place.rglob("*.py"):
        installed = Path(sysconfig.get_path("purelib")) / path.relative_to(place)
        compiled = Path(importlib.util.cache_from_source(str(installed)))
        if compiled.exists():
            there = Path(importlib.util.cache_from_source(str(path)))
            there.parent.mkdir(exist_ok=True)
            there.symlink_to(compiled)


def imported_bytecode(place: Path, target: str) -> list[Path]:
    """Return the bytecode of what an image imports as it is built."""
    code = f"""
import sys, {dockerfile.compiled(target)}
specs = [vars(each).get("__spec__") for each in list(sys.modules.values())]
print(*(each.cached for each in specs if each is not None and each.cached))
"""
    done = run(place, code)
    assert done.returncode == 0, done.stderr
    found = [Path(each) for each in done.stdout.split()]
    return [each for each in found if each.is_relative_to(place) and each.exists()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return an image's site-packages, made once."""
    folder = tmp_path_factory.mktemp("images")

    def made(target: str) -> Path:
        place = folder / target
        if not place.exists():
            slim_site.assemble(set(dockerfile.extras(target).split(",")), place)
            give_bytecode(place)
            if dockerfile.drops_sources(target):
                slim_site.drop_sources(place, imported_bytecode(place, target))
        return place

    return made


@pytest.mark.parametrize("target", dockerfile.IMAGES)
def test_an_images_command_runs(target: str, site: Callable[[str], Path]) -> None:
    command = target.removesuffix("-service")
    code = f"import {dockerfile.compiled(target)}\n{COMMAND}"
    done = run(site(target), code, command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"edgeloop {command}" in done.stdout


@pytest.mark.broker
def test_an_aggregator_and_an_agent_do_a_task(
    tmp_path: Path, start_broker: StartBroker, site: Callable[[str], Path]
) -> None:
    """FedKTL with a generator in process; the device's model in all its forms."""
    source = one_device.write_data(tmp_path / "data")
    task = one_device.Task(tmp_path, source, start_broker().settings, "digits")
    table: dict[str, Any] = {
        "name": one_device.DEVICE,
        "task": one_device.NAME,
        "folder": str(tmp_path / "device"),
        "broker": {"port": task.broker.port},
        "data": {"source": str(source)},
        "training": {"architecture": one_device.ARCHITECTURE, "threads": 1},
        "model": {"int8": True, "every_rounds": 0},
    }
    (tmp_path / "device.toml").write_text(tomli_w.dumps(table))
    lines = {
        "aggregator": ["aggregator", "--config", str(task.config())],
        "agent": ["agent", "--config", str(tmp_path / "device.toml")],
    }
    words = {name: [sys.executable, "-S", "-c", COMMAND, *line] for name, line in lines.items()}
    with running(words["aggregator"], env=environment(site("aggregator"))) as cloud:
        done = subprocess.run(
            words["agent"], env=environment(site("agent")), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert cloud.wait(60) == 0
    assert task.summary()["rounds"] == one_device.ROUNDS
    made = {each.name for each in (tmp_path / "device").glob("model*")}
    assert {"model.onnx", "model.picture.onnx", "model.md"} <= made
    assert "No module named" not in done.stderr


def test_privacy_is_trained_and_counted(site: Callable[[str], Path]) -> None:
    """To the bit as where all of scipy is."""
    done = run(site("agent"), PRIVATE)
    assert done.returncode == 0, done.stderr
    cost = accounting.round_cost(
        PrivacySettings(), samples=100, batch_size=10, epochs=1, prototypes=True
    )
    assert done.stdout.strip() == repr(accounting.epsilon(cost, 1e-5))


@pytest.mark.parametrize("target", ["aggregator", "agent"])
def test_every_algorithm_and_optimiser_is_there(target: str, site: Callable[[str], Path]) -> None:
    code = LEARNS if target == "aggregator" else LEARNS.replace(", edgeloop.generators.triton", "")
    done = run(site(target), code)
    assert done.returncode == 0, done.stderr


def test_an_aggregator_reaches_what_it_works_with(site: Callable[[str], Path]) -> None:
    """Its libraries are loaded: pictures, ONNX, metrics, traces; Triton and PostgreSQL are away."""
    done = run(site("aggregator"), REACHES)
    assert done.returncode == 0, done.stderr
    triton, ledger = done.stdout.splitlines()
    assert triton == "StatusCode.UNAVAILABLE"
    assert "127.0.0.1:9/b: cannot be reached; start it" in ledger


def test_an_authority_signs_and_serves_with_an_aggregators_packages(
    tmp_path: Path, site: Callable[[str], Path]
) -> None:
    done = run(site("aggregator"), COMMAND, "ca", "init", "--folder", str(tmp_path / "ca"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "ca").glob("*.crt"))


def test_a_library_keeps_what_is_loaded(tmp_path: Path) -> None:
    """A header, one segment's table, its bytes, and what only debuggers read."""
    header = slim_site.HEADER.pack(
        slim_site.ELF64.ljust(16, b"\0"), 3, 62, 1, 0, 64, 130, 0, 64, 56, 1, 64, 3, 2
    )
    segment = slim_site.SEGMENT.pack(1, 5, 0, 0, 0, 125, 125, 4096)
    library, text = tmp_path / "liba.so.1", tmp_path / "a.so.txt"
    library.write_bytes(header + segment + b"12345" + b"symbols" * 9)
    text.write_bytes(b"no library at all")
    for path in (library, text):
        slim_site.cut(path)
    assert library.stat().st_size == 125
    assert library.read_bytes().endswith(b"12345")
    assert struct.unpack_from("<Q", library.read_bytes(), 40) == (0,)
    assert text.read_bytes() == b"no library at all"
    slim_site.cut(library)
    assert library.stat().st_size == 125, "a second time changes nothing"
