"""What real programs say of the chart: helm, Kubernetes' own schemas, a policy linter."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.helm import chart
from tests.helm.chart import CHART, VERSIONS

ACCEPTED = {  # checks of checkov that the chart does not want to pass, and why
    "CKV_K8S_8": "the agents, the tests and the reloader have nothing to probe; the others: below",
    "CKV_K8S_9": "as before",
    "CKV_K8S_11": "a CPU limit throttles a process that the node has time for",
    "CKV_K8S_15": "with tags that do not move, IfNotPresent starts without the registry",
    "CKV_K8S_35": "Triton takes the credentials of an object store from its environment only",
    "CKV_K8S_40": "Mosquitto's, PostgreSQL's and Triton's images have users of their own",
    "CKV_K8S_43": "digests are values; a tag is what a release is called",
}


def test_lint(name: str) -> None:
    chart.helm("lint", "--strict", CHART, "-f", CHART / "ci" / f"{name}-values.yaml")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(tmp_path: Path, version: str) -> None:
    files = []
    for values in chart.SETS:
        path = tmp_path / values.name
        path.write_text(chart.template(values, "--kube-version", version))
        files.append(path)
    done = chart.run("kubernetes-validate", "--strict", "-k", version, *files)
    assert "ERROR" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_schemas_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(chart.template(chart.SETS[0]).replace("serviceName:", "servizeName:"))
    done = chart.run("kubernetes-validate", "--strict", "-k", "1.37", path)
    assert "servizeName" in done.stdout + done.stderr


def checked(manifests: str) -> subprocess.CompletedProcess[str]:
    python = chart.tools() / "venv" / "bin" / "python"
    script = Path(__file__).with_name("custom_resources.py")
    return subprocess.run([python, script], input=manifests, capture_output=True, text=True)


def test_custom_resources_are_valid() -> None:
    done = checked("---\n".join(map(chart.template, chart.SETS)))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 17


@pytest.mark.parametrize(
    ("old", "new"), [("pollingInterval: 30", "pollingInterval: often"), ("cooldownP", "coldownP")]
)
def test_the_models_are_asked(old: str, new: str) -> None:
    text = chart.template(CHART / "ci" / "gpu-values.yaml")
    assert old in text
    done = checked(text.replace(old, new))
    assert done.returncode == 1
    assert "oldownP" in done.stderr or "pollingInterval" in done.stderr


def test_policies(tmp_path: Path) -> None:
    for values in chart.SETS:
        (tmp_path / values.name).write_text(chart.template(values))
    options = ["--framework", "kubernetes", "--compact", "--quiet", "--skip-download"]
    done = chart.run("checkov", "-d", tmp_path, *options, "--skip-check", ",".join(ACCEPTED))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed checks" not in done.stdout or "Failed checks: 0" in done.stdout


def test_package(tmp_path: Path) -> None:
    chart.helm("package", CHART, "-d", tmp_path)
    (package,) = tmp_path.glob("edgeloop-*.tgz")
    with tarfile.open(package) as archive:
        packed = {Path(name).relative_to("edgeloop").as_posix() for name in archive.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md"} <= packed
    assert "templates/NOTES.txt" in packed
    assert not [path for path in packed if path.startswith("ci/")]
    again = chart.helm("template", chart.RELEASE, package, "-n", chart.NAMESPACE)
    assert len(chart.parsed(again)) == len(chart.rendered("default"))


def test_an_old_cluster_is_refused() -> None:
    said = chart.refused("--kube-version", "1.26")
    assert "chart requires kubeVersion: >=1.27.0-0" in said


def test_notes_tell_what_there_is(name: str) -> None:
    values = CHART / "ci" / f"{name}-values.yaml"
    said = chart.helm(
        "install", chart.RELEASE, CHART, "-n", chart.NAMESPACE, "-f", values, "--dry-run=client"
    )
    notes = said.partition("NOTES:")[2]
    assert "Broker " in notes
    assert ("WITHOUT TLS" in notes) == (name == "trial")
    assert ("yours" in notes) == (name == "external")
    assert "<no value>" not in said
