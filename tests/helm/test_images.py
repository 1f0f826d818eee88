"""The images' Dockerfile: linted, small, without root, and what the chart asks for."""

import hashlib
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests import dockerfile
from tests.helm import chart
from tests.helm.chart import CHART, ROOT

LOCK = ROOT / "images.lock"
ACCEPTED = {
    "CKV_DOCKER_7": "it does not look into an ARG; the base's version is tested below",
    "CKV_DOCKER_2": "Kubernetes has probes of its own, and no use for a HEALTHCHECK",
}


BASE = dockerfile.instructions(dockerfile.head(), "ARG")[0].partition("=")[2]
"""The image that all of ours stand on."""

every_image = pytest.mark.parametrize("target", dockerfile.IMAGES)


def test_hadolint() -> None:
    done = chart.run("hadolint", "--no-color", dockerfile.FILE)
    assert done.returncode == 0, done.stdout


def test_policies() -> None:
    options = ["--framework", "dockerfile", "--compact", "--quiet", "--skip-download"]
    done = chart.run("checkov", "-f", dockerfile.FILE, *options, "--skip-check", ",".join(ACCEPTED))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_find_faults(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:latest\nRUN cd /tmp && pip install x\n")
    assert "DL3007" in chart.run("hadolint", "--no-color", file).stdout


def test_one_pinned_base() -> None:
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-\w+", BASE)
    bases = {stage.base for stage in dockerfile.stages().values()}
    assert bases - dockerfile.stages().keys() == {"${PYTHON_IMAGE}"}


@every_image
def test_an_image_has_what_its_own_build_left_and_no_more(target: str) -> None:
    text, own = dockerfile.image(target), dockerfile.stages()[target]
    assert own.base == "runtime"
    whole = f"--from={target}-build /opt/edgeloop /opt/edgeloop"
    assert dockerfile.instructions(text, "COPY") == [whole]
    assert "pip" not in text
    build = dockerfile.stages()[f"{target}-build"]
    assert build.base == "source"
    assert "pip uninstall -y pip" in build.text
    assert "bin/python tools/sbom.py > /opt/edgeloop/sbom.cdx.json" in build.text
    assert "pip install --no-cache-dir --no-compile " in build.text
    assert "python3 tools/slim_site.py /opt/edgeloop \\\n" in build.text
    assert dockerfile.compiled(target)
    compiling = f'-c "import {dockerfile.compiled(target)}"'
    drops = f"{compiling} \\\n && python3 tools/slim_site.py --compiled /opt/edgeloop\n"
    assert (drops in build.text) == dockerfile.drops_sources(target) == (target == "aggregator")


def test_the_bill_has_every_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "sbom.py"], check=True, capture_output=True, text=True
    )
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    places = {each["purl"] for each in bill["components"]}
    assert f"pkg:pypi/numpy@{version('numpy')}" in places
    assert len(places) == len(bill["components"]) > 50


def test_an_environment_is_slimmed(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    gone = ["a/tests/test_a.py", "torch/include/a.h", "torch/lib/a.a", "onnx/backend/test/a.py"]
    gone += [
        "a/__pycache__/b.cpython-311.pyc",
        "torch/bin/protoc",
        "torch/testing/_internal/distributed/__pycache__/a.pyc",
        "torch/lib/libtorchbind_test.so",
    ]
    kept = ["a/b.py", "torch/lib/libtorch.so", "torch/__init__.py", "onnx/backend/base.py"]
    kept += ["torch/bin/torch_shm_manager"]  # torch is not imported without it
    gone += ["scipy/linalg/a.py", "scipy.libs/libblas.so", "scipy/special/_basic.py"]
    kept += ["scipy/__init__.py", "scipy/special/__init__.py", "scipy/special/_special_ufuncs.so"]
    for name in (*gone, *kept):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("x")
    script = ROOT / "tools" / "slim_site.py"
    done = subprocess.run(["/usr/bin/env", "python3", script, tmp_path], check=True)
    assert done.returncode == 0
    there = {each.relative_to(site).as_posix() for each in site.rglob("*") if each.is_file()}
    assert there == set(kept)
    assert not (site / "a" / "tests").exists()
    special = (site / "scipy" / "special" / "__init__.py").read_text()
    assert special == "from ._special_ufuncs import binom, log_ndtr\n"


def test_what_is_compiled_needs_no_source_but_ours_does(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    texts = {"a/b.py": "x = 1", "a/c.py": "x = 1", "edgeloop/d.py": "x = 1"}
    texts["torch/config.py"] = "install_config_module(module)"
    compiled = [each for each in texts if each != "a/c.py"]
    for name, text in texts.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    for name in compiled:
        py_compile.compile(str(site / name))
    script = ROOT / "tools" / "slim_site.py"
    subprocess.run([sys.executable, script, "--compiled", tmp_path], check=True)
    there = {each.relative_to(site).as_posix() for each in site.rglob("*.py*") if each.is_file()}
    sources = {each for each in there if each.endswith(".py")}
    assert sources == {"a/c.py", "edgeloop/d.py", "torch/config.py"}
    assert "a/b.pyc" in there
    code = "import a.b; assert a.b.x == 1; print(a.b.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=site, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip().endswith("a/b.pyc")


def test_every_argument_with_a_value_is_known_where_it_is_used() -> None:
    for stage in dockerfile.stages().values():
        used = set(re.findall(r"\$\{?(TORCH_INDEX|PYTHON_IMAGE)", stage.text))
        assert used == set(stage.instructions("ARG"))  # without one it is empty in a stage


@every_image
def test_nobody_is_root(target: str) -> None:
    text = dockerfile.image(target)
    users = dockerfile.instructions(text, "USER")
    assert users == ["10001:10001"]  # a number: runAsNonRoot looks at it
    assert dockerfile.instructions(text, "ENTRYPOINT") == ['["edgeloop"]']
    assert "RUN " not in text.partition("\nUSER ")[2]


@every_image
def test_the_extra_is_there(target: str) -> None:
    extras = dockerfile.extras(target)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    (command,) = re.findall(r'CMD \["(\w+)", "--help"\]', dockerfile.image(target))
    assert command == target.removesuffix("-service")
    assert command in project["entry-points"]["edgeloop.commands"]


def test_what_is_copied_is_in_the_context() -> None:
    allowed = (ROOT / ".dockerignore").read_text().split("\n")
    for line in dockerfile.instructions(dockerfile.FILE.read_text(), "COPY"):
        if not line.startswith("--from"):
            *sources, _ = line.split()
            for source in sources:
                assert f"!{source}" in allowed
                assert (ROOT / source).exists()


def test_the_chart_asks_for_these_images() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    asked = {
        values[key]["image"]["repository"]
        for key in ("aggregator", "agent", "operator", "generatorService")
    }
    titled = set(re.findall(r'title="([\w-]+)"', dockerfile.FILE.read_text()))
    assert asked == titled == {f"edgeloop-{target}" for target in dockerfile.IMAGES}


def test_the_chart_and_the_project_have_one_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(about["appVersion"]) == project["version"]


def test_the_lock_has_every_image_of_others() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    of_chart = (values["broker"], values["triton"], values["database"]["bundled"])
    wanted = {f"{each['image']['repository']}:{each['image']['tag']}" for each in of_chart}
    wanted |= {each["image"] for each in services.values() if not each["image"].startswith("$")}
    wanted |= {BASE}
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    assert sorted(line.partition("@")[0] for line in lines) == sorted(wanted)
    digests = [line.partition("@")[2] for line in lines if "@" in line]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in digests)


REGISTRY = """#!/bin/sh
[ "$1 $2" = "inspect --raw" ] && [ "$3" != "docker://$REFUSED" ] && printf 'manifest of %s' "$3"
"""


def locked_with(folder: Path, refused: str = "") -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a copy of tools/images_lock.sh with a skopeo that has a manifest of its own for each."""
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "images_lock.sh", folder / "tools")
    lock = folder / "images.lock"
    lock.write_text("# words\n# None is known yet: ...\na.example/b:1\nc.example/d:2@sha256:old\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "skopeo").write_text(REGISTRY)
    (folder / "bin" / "skopeo").chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "REFUSED": refused}
    command = ["/bin/bash", str(folder / "tools" / "images_lock.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True), lock


def test_digests_are_asked_of_the_registries(tmp_path: Path) -> None:
    done, lock = locked_with(tmp_path)
    assert done.returncode == 0, done.stderr
    images = ("a.example/b:1", "c.example/d:2")
    digests = [
        hashlib.sha256(f"manifest of docker://{each}".encode()).hexdigest() for each in images
    ]
    pinned = [f"{image}@sha256:{digest}" for image, digest in zip(images, digests, strict=True)]
    assert lock.read_text().splitlines() == ["# words", *pinned]


def test_a_registry_that_does_not_answer_leaves_the_lock_as_it_was(tmp_path: Path) -> None:
    done, lock = locked_with(tmp_path, refused="c.example/d:2")
    assert done.returncode == 1
    assert "images-lock: c.example/d:2: its registry does not tell its digest" in done.stderr
    assert lock.read_text().endswith("a.example/b:1\nc.example/d:2@sha256:old\n")


def built_with(
    folder: Path, tool: str, lock: str | None = None, **environment: str
) -> tuple[int, str, list[str]]:
    """Run tools/images.sh with a builder that only notes what it is asked."""
    root = ROOT
    if lock is not None:
        root = folder / "root"
        for path in ("tools/images.sh", "pyproject.toml", "Dockerfile"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, root / path)
        (root / "images.lock").write_text(lock)
    programs = folder / "bin"
    programs.mkdir()
    notes = folder / "notes"
    (programs / tool).write_text(f'#!/bin/sh\necho "$*" >> {notes}\n')
    (programs / tool).chmod(0o755)
    for name in ("sed", "dirname"):
        (programs / name).symlink_to(
            f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}"
        )
    command = ["/bin/bash", str(root / "tools" / "images.sh")]
    found = {"PATH": str(programs), **environment}
    done = subprocess.run(command, env=found, capture_output=True, text=True)
    asked = notes.read_text().splitlines() if notes.exists() else []
    return done.returncode, done.stderr, asked


def test_images_for_two_processors_go_to_the_registry(tmp_path: Path) -> None:
    both = "linux/amd64,linux/arm64"
    wanted = {"REGISTRY": "registry.example/e/", "TAG": "9", "PLATFORMS": both, "PUSH": "1"}
    code, _, asked = built_with(tmp_path, "docker", **wanted)
    assert code == 0
    name = "registry.example/e/edgeloop-aggregator:9"
    attested = "--provenance=mode=max --sbom=true"
    line = f"buildx build --platform {both} --push {attested} -t {name} --target aggregator ."
    assert line in asked
    built = [each for each in asked if each.startswith("buildx build")]
    targets = [re.findall(r"edgeloop-(\S+):9 --target (\S+) \.$", each) for each in built]
    assert targets == [[(target, target)] for target in dockerfile.IMAGES]


def test_images_of_podman(tmp_path: Path) -> None:
    code, _, asked = built_with(tmp_path, "podman", PYTHON_IMAGE="localhost/base:1")
    assert code == 0
    name = f"edgeloop-agent:{chart.parsed((CHART / 'Chart.yaml').read_text())[0]['appVersion']}"
    assert f"build --build-arg PYTHON_IMAGE=localhost/base:1 -t {name} --target agent ." in asked


def test_images_are_built_on_the_locked_base(tmp_path: Path) -> None:
    pinned = f"{BASE}@sha256:{'a' * 64}"
    code, _, asked = built_with(tmp_path, "podman", lock=f"# words\nx.example/y:1\n{pinned}\n")
    assert code == 0
    assert all(f"--build-arg PYTHON_IMAGE={pinned} " in each for each in asked)
    assert len(asked) == 4


def test_another_base_and_one_without_a_digest(tmp_path: Path) -> None:
    lock = f"{BASE}@sha256:{'a' * 64}\n"
    (tmp_path / "own").mkdir()
    _, _, asked = built_with(tmp_path / "own", "podman", lock=lock, PYTHON_IMAGE="localhost/b:1")
    assert all("--build-arg PYTHON_IMAGE=localhost/b:1 " in each for each in asked)
    (tmp_path / "bare").mkdir()
    code, _, asked = built_with(tmp_path / "bare", "podman", lock=f"{BASE}\n")
    assert code == 0
    assert not any("PYTHON_IMAGE" in each for each in asked)


@pytest.mark.parametrize(
    ("tool", "environment", "sentence"),
    [
        ("nothing", {}, "needs docker with buildx, podman or buildah"),
        ("docker", {"PUSH": "1"}, "PUSH=1 needs REGISTRY"),
        ("docker", {"PLATFORMS": "linux/amd64,linux/arm64"}, "go to a registry only: set PUSH=1"),
    ],
)
def test_images_that_cannot_be_built(
    tmp_path: Path, tool: str, environment: dict[str, str], sentence: str
) -> None:
    code, said, _ = built_with(tmp_path, tool, **environment)
    assert code == 1
    assert sentence in said
