"""The images' Dockerfiles: linted, small, without root, and what the chart asks for."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.helm import chart
from tests.helm.chart import CHART, ROOT

FILES = [
    ROOT / door / "Dockerfile"
    for door in ("cloud/aggregator", "cloud/generator_service", "cloud/operator", "edge/agent")
]
ACCEPTED = {
    "CKV_DOCKER_7": "it does not look into an ARG; the base's version is tested below",
    "CKV_DOCKER_2": "Kubernetes has probes of its own, and no use for a HEALTHCHECK",
}


@pytest.fixture(params=FILES, ids=lambda path: path.parent.name)
def file(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def instructions(file: Path, word: str) -> list[str]:
    """Return what follows a word in a Dockerfile."""
    text = file.read_text().replace("\\\n", " ")
    return re.findall(rf"^{word} +(.*)$", text, re.MULTILINE)


def test_hadolint(file: Path) -> None:
    done = chart.run("hadolint", "--no-color", file)
    assert done.returncode == 0, done.stdout


def test_policies(file: Path) -> None:
    options = ["--framework", "dockerfile", "--compact", "--quiet", "--skip-download"]
    done = chart.run("checkov", "-f", file, *options, "--skip-check", ",".join(ACCEPTED))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_find_faults(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:latest\nRUN cd /tmp && pip install x\n")
    assert "DL3007" in chart.run("hadolint", "--no-color", file).stdout


def test_two_stages_of_one_pinned_base(file: Path) -> None:
    assert instructions(file, "FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    base, *_ = instructions(file, "ARG")
    assert re.fullmatch(r"PYTHON_IMAGE=docker\.io/library/python:3\.\d+\.\d+-slim-\w+", base)
    assert base == instructions(FILES[0], "ARG")[0]


def test_nobody_is_root(file: Path) -> None:
    assert instructions(file, "USER") == ["10001:10001"]  # a number: runAsNonRoot looks at it
    assert instructions(file, "ENTRYPOINT") == ['["edgeloop"]']
    text = file.read_text()
    assert text.index("USER ") > text.index("COPY --from=build")


def test_the_extra_is_there(file: Path) -> None:
    if not file.with_name("__init__.py").exists():
        return  # the door is not built yet
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', file.read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (command,) = re.findall(r'CMD \["(\w+)", "--help"\]', file.read_text())
    assert command in project["entry-points"]["edgeloop.commands"]


def test_what_is_copied_is_in_the_context(file: Path) -> None:
    allowed = (ROOT / ".dockerignore").read_text().split("\n")
    for line in instructions(file, "COPY"):
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
    built = set(re.findall(r"(edgeloop-[\w-]+)=", (ROOT / "tools" / "images.sh").read_text()))
    titled = {re.findall(r'title="([\w-]+)"', file.read_text())[0] for file in FILES}
    assert asked == built == titled


def test_the_chart_and_the_project_have_one_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(about["appVersion"]) == project["version"]


def built_with(folder: Path, tool: str, **environment: str) -> tuple[int, str, list[str]]:
    """Run tools/images.sh with a builder that only notes what it is asked."""
    programs = folder / "bin"
    programs.mkdir()
    notes = folder / "notes"
    (programs / tool).write_text(f'#!/bin/sh\necho "$*" >> {notes}\n')
    (programs / tool).chmod(0o755)
    for name in ("sed", "dirname"):
        (programs / name).symlink_to(
            f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}"
        )
    command = ["/bin/bash", str(ROOT / "tools" / "images.sh")]
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
    line = f"buildx build --platform {both} --push -t {name} -f cloud/aggregator/Dockerfile ."
    assert line in asked
    assert len([each for each in asked if each.startswith("buildx build")]) == 4


def test_images_of_podman(tmp_path: Path) -> None:
    code, _, asked = built_with(tmp_path, "podman", PYTHON_IMAGE="localhost/base:1")
    assert code == 0
    name = f"edgeloop-agent:{chart.parsed((CHART / 'Chart.yaml').read_text())[0]['appVersion']}"
    assert (
        f"build --build-arg PYTHON_IMAGE=localhost/base:1 -t {name} -f edge/agent/Dockerfile ."
        in asked
    )


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
