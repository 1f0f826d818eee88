"""What the images install is locked: what their extras need on each processor."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import dockerfile

ROOT = Path(__file__).parent.parent
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "wheels.py")))
EXTRAS = SCRIPT.extras_of_images()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("image", EXTRAS)
def test_every_package_of_an_image_is_locked(image: str, machine: str) -> None:
    assert SCRIPT.needed(EXTRAS[image], machine) <= SCRIPT.locked().keys() | SCRIPT.FRESH


def test_every_image_says_what_it_installs() -> None:
    assert EXTRAS["operator"] == {"operator"}
    assert EXTRAS.keys() == set(dockerfile.IMAGES)


def test_what_extras_need() -> None:
    cloud = SCRIPT.needed({"cloud", "otel"}, "aarch64")
    assert {"torch", "psycopg-binary", "grpcio", "opentelemetry-proto"} <= cloud
    operator = SCRIPT.needed({"operator"}, "aarch64")
    assert "kopf" in operator
    assert "torch" not in operator
