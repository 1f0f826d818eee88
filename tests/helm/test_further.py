"""What a platform's people add to pods, Services and images by values."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import chart
from tests.helm.chart import CHART, Manifest, containers, named, of_kind, pods

PARTS = {  # of the values: the kind and the end of the name, and the set that has it
    "broker": ("StatefulSet", "-broker", "default"),
    "triton": ("Deployment", "-triton", "default"),
    "aggregator": ("StatefulSet", "-task-digits", "bundled"),
    "operator": ("Deployment", "-operator", "default"),
    "agent": ("DaemonSet", "-agent", "edge"),
}
FURTHER = {
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "b"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://p:1"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "terminationGracePeriodSeconds": 77,
    "revisionHistoryLimit": 9,
}


def rendered(folder: Path, values: Any, name: str = "default") -> list[Manifest]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    text = chart.template(CHART / "ci" / f"{name}-values.yaml", "-f", str(path))
    return chart.parsed(text)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_added_to_pods(tmp_path: Path, part: str) -> None:
    kind, name, values = PARTS[part]
    more = {**FURTHER, "extraArgs": ["--log-format", "json"]}
    made = named(rendered(tmp_path, {part: more}, values), kind, name)
    pod = made["spec"]["template"]
    assert pod["metadata"]["labels"]["team"] == "a"
    assert "team" not in made["spec"]["selector"]["matchLabels"]
    assert pod["metadata"]["annotations"]["note"] == "b"
    assert made["spec"]["revisionHistoryLimit"] == 9
    assert pod["spec"]["terminationGracePeriodSeconds"] == 77
    assert {"name": "more", "emptyDir": {}} in pod["spec"]["volumes"]
    container = pod["spec"]["containers"][0]
    assert FURTHER["extraEnv"][0] in container["env"]  # type: ignore[index]  # it is a list
    assert {"name": "more", "mountPath": "/more"} in container["volumeMounts"]
    assert container["args"][-2:] == ["--log-format", "json"]


@pytest.mark.parametrize("part", PARTS)
def test_a_service_account_has_its_annotations(tmp_path: Path, part: str) -> None:
    role = {"serviceAccount": {"annotations": {"iam": "role"}}}
    found = of_kind(rendered(tmp_path, {part: role}, PARTS[part][2]), "ServiceAccount")
    marked = [each for each in found if each["metadata"].get("annotations") == {"iam": "role"}]
    assert [each["metadata"]["name"] for each in marked] == [f"r-edgeloop-{part}"]


def test_what_is_asked_of_a_load_balancer(tmp_path: Path) -> None:
    service = {
        "type": "LoadBalancer",
        "loadBalancerClass": "service.k8s.aws/nlb",
        "externalTrafficPolicy": "Local",
        "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
    }
    families = {key: service[key] for key in ("ipFamilyPolicy", "ipFamilies")}
    manifests = rendered(
        tmp_path, {"broker": {"service": service}, "triton": {"service": families}}
    )
    spec = named(manifests, "Service", "-broker")["spec"]
    assert {key: spec[key] for key in service} == service
    assert families.items() <= named(manifests, "Service", "-triton")["spec"].items()
    plain = named(rendered(tmp_path, {}), "Service", "-broker")["spec"]
    assert not (service.keys() - {"type"}) & plain.keys()


def images(manifests: list[Manifest]) -> Iterator[str]:
    for _, pod in pods(manifests):
        yield from (each["image"] for each in containers(pod))


def test_one_registry_has_all_images(tmp_path: Path) -> None:
    mirror = {"global": {"imageRegistry": "mirror.example/x/", "imagePullSecrets": ["global"]}}
    manifests = rendered(tmp_path, {**mirror, "database": {"bundled": {"enabled": True}}})
    found = set(images(manifests))
    assert all(each.startswith("mirror.example/x/") for each in found)
    assert "mirror.example/x/library/eclipse-mosquitto:2.0.22" in found
    assert "mirror.example/x/nvidia/tritonserver:24.10-py3" in found
    for _, pod in pods(manifests):
        assert {"name": "global"} in pod["spec"]["imagePullSecrets"]
    told = containers(named(manifests, "Deployment", "-operator")["spec"]["template"])[0]["env"]
    known = {each["name"]: each.get("value") for each in told}
    assert known["EDGELOOP_OPERATOR_PULL_SECRET"] == "global"  # noqa: S105 - its name
    assert known["EDGELOOP_OPERATOR_AGGREGATOR_IMAGE"].startswith("mirror.example/x/")


def test_ours_may_be_in_another_one(tmp_path: Path) -> None:
    both = {"global": {"imageRegistry": "mirror.example"}, "image": {"registry": "own.example"}}
    found = set(images(rendered(tmp_path, both)))
    assert {each.partition("/")[0] for each in found} == {"mirror.example", "own.example"}


def test_the_operator_is_told_of_names_and_algorithms(tmp_path: Path) -> None:
    values = {"operator": {"algorithms": ["mine", "other"], "taskNames": "plain"}}
    manifests = rendered(tmp_path, values)
    told = containers(named(manifests, "Deployment", "-operator")["spec"]["template"])[0]["env"]
    known = {each["name"]: each.get("value") for each in told}
    assert known["EDGELOOP_OPERATOR_ALGORITHM"] == "mine other"
    assert known["EDGELOOP_OPERATOR_TASK_NAMES"] == "plain"


def test_storage_classes_are_asked_for_by_a_role_of_its_own(tmp_path: Path) -> None:
    role = named(chart.rendered("default"), "ClusterRole", "-operator")
    (rule,) = role["rules"]
    assert (rule["resources"], rule["verbs"]) == (["storageclasses"], ["get"])
    without = rendered(tmp_path, {"operator": {"storageClasses": False, "aggregatedRoles": False}})
    assert not of_kind(without, "ClusterRole", "ClusterRoleBinding")


def test_what_artifact_hub_shows() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["icon"].startswith("data:image/svg+xml;base64,")
    assert "keywords" in about
    assert not {"home", "sources", "maintainers"} & about.keys(), "its publisher's to say"

    listed = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    named_there = {each["image"].rpartition(":")[0] for each in listed}
    bundled = ("--set", "database.bundled.enabled=true,agent.enabled=true,agent.task=t")
    made = chart.parsed(chart.template(CHART / "ci" / "default-values.yaml", *bundled))
    assert {each.rpartition(":")[0] for each in images(made)} <= named_there
    crds = yaml.safe_load(about["annotations"]["artifacthub.io/crds"])
    assert {each["name"] for each in crds} == {
        yaml.safe_load(path.read_text())["metadata"]["name"] for path in (CHART / "crds").glob("*")
    }


def test_a_publisher_says_where_the_chart_is_at_home(tmp_path: Path) -> None:
    words = ["--home", "https://example.org", "--source", "https://example.org/git"]
    words += ["--maintainer", "Ann Example <ann@example.org>", "--out", str(tmp_path)]
    command = [sys.executable, str(chart.ROOT / "tools" / "package_chart.py"), *words]
    helm = ["--helm", str(chart.tools() / "bin" / "helm")]
    subprocess.run([*command, *helm], check=True, capture_output=True)
    (package,) = tmp_path.glob("edgeloop-*.tgz")
    about = yaml.safe_load(chart.helm("show", "chart", package))
    assert (about["home"], about["sources"]) == (words[1], [words[3]])
    assert about["maintainers"] == [{"name": "Ann Example", "email": "ann@example.org"}]
    assert about["version"] == yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    done = subprocess.run([*command, "--home", "example"], capture_output=True, text=True)
    assert (done.returncode, "is no URL of HTTP" in done.stderr) == (2, True)
