"""What the images install is locked: what their extras need on each processor."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "wheels.py")))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("door", SCRIPT.DOORS)
def test_every_package_of_an_image_is_locked(door: str, machine: str) -> None:
    extras = SCRIPT.extras_of((ROOT / door / "Dockerfile").read_text())
    assert SCRIPT.needed(extras, machine) <= SCRIPT.locked().keys() | SCRIPT.FRESH


def test_what_extras_need() -> None:
    cloud = SCRIPT.needed({"cloud", "otel"}, "aarch64")
    assert {"torch", "psycopg-binary", "grpcio", "opentelemetry-proto"} <= cloud
    operator = SCRIPT.needed({"operator"}, "aarch64")
    assert "kopf" in operator
    assert "torch" not in operator
