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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return an image's site-packages, made once."""
    folder = tmp_path_factory.mktemp("images")

    def made(target: str) -> Path:
        place = folder / target
        if not place.exists():
            slim_site.assemble(set(dockerfile.extras(target).split(",")), place)
            give_bytecode(place)
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
    done = run(site("agent"), PRIVATE)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


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
