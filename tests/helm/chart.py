"""The chart as helm renders it, for the tests that look into it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud.operator.certificates import Release

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "edgeloop"
SETS = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "r", "fed"
VERSIONS = ("1.27", "1.32", "1.37")
"""Of Kubernetes: the oldest that the chart takes, one in between, the newest that was known."""

Manifest = dict[str, Any]


def tools() -> Path:
    """Return the folder that `tools/helm.sh` filled; without it skip, or fail in CI."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("EDGELOOP_HELM") or cache / "edgeloop" / "helm")
    if (folder / "installed").is_file():
        return folder
    if os.environ.get("CI"):
        pytest.fail("helm is not installed; tools/helm.sh installs it")
    pytest.skip("helm is not installed; tools/helm.sh installs it")


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the programs that check charts."""
    command = [tools() / "bin" / program, *arguments]
    home = {"HELM_CACHE_HOME": "/tmp/edgeloop-helm", "KUBECONFIG": os.devnull}  # noqa: S108
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **home},
    )


def helm(*arguments: str | Path) -> str:
    """Run helm; return what it prints."""
    done = run("helm", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str | Path) -> str:
    """Run helm on values that it must refuse; return what it says."""
    done = run("helm", "template", RELEASE, CHART, *arguments)
    assert done.returncode == 1, done.stdout
    return done.stderr


def template(values: Path, *arguments: str) -> str:
    """Return what helm makes of a set of values."""
    return helm("template", RELEASE, CHART, "-n", NAMESPACE, "-f", values, *arguments)


@functools.cache
def rendered(name: str, *arguments: str) -> list[Manifest]:
    """Return the manifests of a set of values, by the set's name."""
    return parsed(template(CHART / "ci" / f"{name}-values.yaml", *arguments))


def parsed(text: str) -> list[Manifest]:
    """Return the manifests in a stream."""
    safe = yaml.CSafeLoader  # which is far faster than the one in Python
    return [each for each in yaml.load_all(text, safe) if each]


def names() -> list[str]:
    """Return the names of the sets of values."""
    return [path.name.removesuffix("-values.yaml") for path in SETS]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Return the manifests of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return one manifest, by its kind and how its name ends."""
    found = [each for each in of_kind(manifests, kind) if each["metadata"]["name"].endswith(name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each manifest that makes pods, with the pods' template."""
    for each in of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield each, each["spec"]["template"]
    for each in of_kind(manifests, "CronJob"):
        yield each, each["spec"]["jobTemplate"]["spec"]["template"]
    for each in of_kind(manifests, "Pod"):
        yield each, each


def containers(pod: Manifest) -> list[Manifest]:
    """Return a pod's containers, those that run first too."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def certificates(manifests: list[Manifest]) -> Release | None:
    """Return the certificates that a release's job makes; None if it has none."""
    found = [
        each["data"]["wanted.json"]
        for each in of_kind(manifests, "ConfigMap")
        if "wanted.json" in each["data"]
    ]
    return Release.model_validate_json(found[0]) if found else None


def copied(folder: Path) -> Path:
    """Return a copy of the chart that a test may change."""
    return Path(shutil.copytree(CHART, folder / "edgeloop"))
