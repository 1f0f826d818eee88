"""Every pod of every set of values: what it may do, what it is watched by, what it needs."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.helm import chart
from tests.helm.chart import Manifest, containers, pods

GIVEN = {  # what a set of values takes as given: secrets and claims of somebody else
    "bundled": {"registry", "generators"},
    "production": {"ledgers", "collector"},
    "external": {"mqtt-client", "mqtt-password"},
    "edge": {"s3"},
    "enrolment": {"nodes"},
    "edge-own-certificates": {"broker-tls", "aggregator-tls"},
}


def component(manifest: Manifest) -> str:
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def test_no_pod_has_rights(manifests: list[Manifest]) -> None:
    for owner, pod in pods(manifests):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        if component(owner) not in ("operator", "certificates"):  # which ask the cluster
            assert spec["automountServiceAccountToken"] is False
        for each in containers(pod):
            context = each["securityContext"]
            assert context["readOnlyRootFilesystem"], each["name"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")


def test_only_agents_see_their_node(manifests: list[Manifest]) -> None:
    for owner, pod in pods(manifests):
        if component(owner) != "agent":
            assert not [each for each in pod["spec"].get("volumes", []) if "hostPath" in each]


def test_images_do_not_move(manifests: list[Manifest]) -> None:
    for _, pod in pods(manifests):
        for each in containers(pod):
            assert re.fullmatch(r"\S+(:[\w.-]+|@sha256:[0-9a-f]{64})", each["image"])
            assert not each["image"].endswith(":latest")
            assert each["imagePullPolicy"] == "IfNotPresent"


def test_every_container_says_what_it_takes(manifests: list[Manifest]) -> None:
    for _, pod in pods(manifests):
        for each in containers(pod):
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys(), each["name"]
            assert "memory" in each["resources"]["limits"], each["name"]


def test_whatever_listens_is_probed(manifests: list[Manifest]) -> None:
    for _, pod in pods(manifests):
        for each in pod["spec"]["containers"]:
            kinds = {"livenessProbe", "readinessProbe"} & each.keys()
            if each.get("ports"):
                assert kinds == {"livenessProbe", "readinessProbe"}, each["name"]
            ports = {port["name"] for port in each.get("ports", [])}
            for probe in [*kinds, *({"startupProbe"} & each.keys())]:
                for action in each[probe].values():
                    if isinstance(action, dict) and "port" in action:
                        assert action["port"] in ports


def test_every_mount_has_its_volume(manifests: list[Manifest]) -> None:
    for owner, pod in pods(manifests):
        claims = owner["spec"].get("volumeClaimTemplates", [])
        there = [each["name"] for each in pod["spec"].get("volumes", [])]
        there += [each["metadata"]["name"] for each in claims]
        assert len(there) == len(set(there))
        wanted = {each["name"] for c in containers(pod) for each in c.get("volumeMounts", [])}
        assert wanted == set(there), owner["metadata"]["name"]


def references(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of everything that a pod needs to be there."""
    spec = pod["spec"]
    yield "ServiceAccount", spec["serviceAccountName"]
    yield from (("Secret", each["name"]) for each in spec.get("imagePullSecrets", []))
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for each in containers(pod):
        for source in each.get("envFrom", []):
            yield from (("Secret", name["name"]) for name in source.values())
        for variable in each.get("env", []):
            for source in variable.get("valueFrom", {}).values():
                if "key" in source:
                    yield "Secret", source["name"]


def test_whatever_a_pod_needs_is_there(name: str, manifests: list[Manifest]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for each in chart.of_kind(manifests, "Certificate"):
        there.add(("Secret", each["spec"]["secretName"]))
    made = chart.certificates(manifests)
    if made is not None:
        there |= {
            ("Secret", each)
            for each in (
                made.authority,
                made.devices,
                made.access,
                *(c.secret for c in made.certificates),
            )
        }
    there.add(("ServiceAccount", "default"))
    needed = {each for _, pod in pods(manifests) for each in references(pod)}
    assert {name for _, name in needed - there} == GIVEN.get(name, set())


def test_mounted_keys_are_in_their_secret(manifests: list[Manifest]) -> None:
    secrets = {each["metadata"]["name"]: each for each in chart.of_kind(manifests, "Secret")}
    for _, pod in pods(manifests):
        for volume in pod["spec"].get("volumes", []):
            secret = secrets.get(volume.get("secret", {}).get("secretName"))
            if secret is None:
                continue
            keys = {*secret.get("data", {}), *secret.get("stringData", {})}
            assert {each["key"] for each in volume["secret"].get("items", [])} <= keys
            if volume["name"] == "tls":
                assert keys == {"ca.crt", "tls.crt", "tls.key"}


def test_an_upgrade_of_the_chart_alone_starts_no_pod_again(tmp_path: Path, name: str) -> None:
    later = chart.copied(tmp_path)
    about = yaml.safe_load((later / "Chart.yaml").read_text())
    (later / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "99.0.0"}))
    values = chart.CHART / "ci" / f"{name}-values.yaml"
    text = chart.helm("template", chart.RELEASE, later, "-n", chart.NAMESPACE, "-f", values)
    assert "edgeloop-99.0.0" in text

    def templates(manifests: list[Manifest]) -> dict[str, Manifest]:
        return {
            owner["metadata"]["name"]: pod for owner, pod in pods(manifests) if owner is not pod
        }

    assert templates(chart.parsed(text)) == templates(chart.rendered(name))
