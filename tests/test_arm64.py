"""What a device installs has wheels for arm64: a Raspberry Pi and a Jetson compile nothing."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries=0", "install"]
PIP += ["--dry-run", "--quiet", "--no-deps", "--only-binary=:all:"]


@pytest.fixture(scope="module")
def _registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = str(tmp_path_factory.mktemp("none"))
    if subprocess.run([*PIP, "--target", place, "numpy"], capture_output=True).returncode:
        pytest.skip("pip is not here, or reaches no package registry")


def needed(*wanted: str) -> list[str]:
    """Return the requirements of extras, those of the extras that they name along with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, found, open_ = project["optional-dependencies"], set(project["dependencies"]), [*wanted]
    while open_:
        for each in extras[open_.pop()]:
            if each.startswith("edgeloop["):
                open_ += each.removeprefix("edgeloop[").rstrip("]").split(",")
            else:
                found.add(each)
    return sorted(found)


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_every_requirement_has_a_wheel(python: str, tmp_path: Path) -> None:
    wanted = needed("edge-infer", "edge-lite", "edge")
    report = tmp_path / "report.json"
    words = ["--report", str(report), "--target", str(tmp_path / "none")]
    words += [f"--platform={each}" for each in PLATFORMS]
    done = subprocess.run(
        [*PIP, *words, f"--python-version={python}", *wanted], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wheels = [each["download_info"]["url"] for each in json.loads(report.read_text())["install"]]
    assert len(wheels) == len(wanted)
    assert any("onnxruntime" in each and "aarch64" in each for each in wheels)
