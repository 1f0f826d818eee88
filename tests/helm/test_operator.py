"""The operator's pods and rights: that it is told what it understands, and may do what it does."""

import os
import typing
from pathlib import Path

import pytest
import yaml

from cloud.operator import command, forgetting, jobs, manifests
from cloud.operator.jobs import Version
from cloud.operator.manifests import ResolvedTask
from edgeloop.errors import ConfigError
from edgeloop.generators import control
from tests.cloud.operator.cluster import rules
from tests.cloud.operator.examples import SETTINGS, a_generator, a_store, a_task
from tests.helm import chart
from tests.helm.chart import Manifest, named, of_kind, rendered
from tests.helm.test_helm import ACCEPTED


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """Return what the operator is told by its environment, less what only a pod can know."""
    pod = named(manifests, "Deployment", "-operator")["spec"]["template"]["spec"]
    told = {each["name"]: each.get("value", "pod-0") for each in pod["containers"][0]["env"]}
    return {name: value for name, value in told.items() if name.startswith(command.PREFIX)}


def variables() -> set[str]:
    """Return the variables that the command reads."""
    hints = typing.get_type_hints(command.operator, include_extras=True).values()
    return {hint.__metadata__[0].envvar for hint in hints if hasattr(hint, "__metadata__")}


@pytest.fixture
def enabled(manifests: list[Manifest]) -> list[Manifest]:
    """A set of values that has an operator."""
    if not any(each["metadata"]["name"].endswith("-operator") for each in manifests):
        return rendered("default")
    return manifests


def test_the_operator_understands_what_it_is_told(
    enabled: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = environment(enabled)
    assert told.keys() <= variables()
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EDGELOOP_OPERATOR_PORT", "0")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", os.devnull)
    with pytest.raises(ConfigError, match="cluster: there is neither"):
        command.main([])


def test_what_production_tells() -> None:
    told = environment(rendered("production"))
    release = {
        "NAMESPACE": "line-1 line-2",
        "BROKER_HOST": "r-edgeloop-broker.fed.svc",
        "BROKER_SECRET": "r-edgeloop-aggregator-tls",
        "DATABASE_SECRET": "ledgers",
        "LEASE_NAMESPACE": "fed",
        "TRACE_ENDPOINT": "http://collector.observability:4318",
        "TRACE_SAMPLING": "0.1",
        "TRACE_HEADERS_SECRET": "collector",
    }
    assert {name: told[f"{command.PREFIX}{name}"] for name in release} == release
    assert "EDGELOOP_OPERATOR_BROKER_PASSWORD_SECRET" not in told


def test_rights_are_those_that_the_operator_is_tested_with() -> None:
    manifests = rendered("production")
    roles = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each["rules"]
        for each in of_kind(manifests, "Role")
    }
    assert roles == {
        ("fed", "r-edgeloop-operator-lease"): rules("operator-lease-rules"),
        ("line-1", "r-edgeloop-operator"): rules(),
        ("line-2", "r-edgeloop-operator"): rules(),
    }
    for binding in of_kind(manifests, "RoleBinding"):
        assert (binding["metadata"]["namespace"], binding["roleRef"]["name"]) in roles
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "r-edgeloop-operator", "namespace": "fed"}
        ]
    (bound,) = of_kind(manifests, "ClusterRoleBinding")
    assert bound["roleRef"]["name"] == "fed-r-edgeloop-operator"
    assert bound["subjects"] == binding["subjects"]
    (asked,) = (
        each["rules"]
        for each in of_kind(manifests, "ClusterRole")
        if each["metadata"]["name"] == bound["roleRef"]["name"]
    )
    assert asked == rules("operator-cluster-rules")


def test_who_may_view_a_namespace_may_view_our_kinds() -> None:
    group = "rbac.authorization.k8s.io"
    roles = {
        each["metadata"]["name"]: each for each in of_kind(rendered("production"), "ClusterRole")
    }
    view, edit = roles.pop("fed-r-edgeloop-view"), roles.pop("fed-r-edgeloop-edit")
    assert roles.keys() == {"fed-r-edgeloop-operator"}
    for role, into in ((view, ("view", "edit", "admin")), (edit, ("edit", "admin"))):
        found = {key for key in role["metadata"]["labels"] if key.startswith(group)}
        assert found == {f"{group}/aggregate-to-{each}" for each in into}
        assert role["rules"][0]["resources"] == ["federatedtasks", "generators", "bases", "devices"]
    assert view["rules"][0]["verbs"] == ["get", "list", "watch"]
    assert {"create", "delete", "patch", "update"} < set(edit["rules"][0]["verbs"])


def test_no_roles_for_all_where_they_are_not_wanted(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("operator: {aggregatedRoles: false, storageClasses: false}")
    assert not of_kind(chart.parsed(chart.template(values)), "ClusterRole")


def test_further_variables() -> None:
    pod = named(rendered("production"), "Deployment", "-operator")["spec"]["template"]["spec"]
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
    assert proxy in pod["containers"][0]["env"]


def test_triton_and_whoever_controls_it_have_one_secret(enabled: list[Manifest]) -> None:
    servers = [
        each
        for each in of_kind(enabled, "Deployment")
        if each["metadata"]["name"].endswith("-triton")
    ]
    for server in servers:
        (container,) = server["spec"]["template"]["spec"]["containers"]
        shut = [each for each in container["args"] if "-restricted-" in each]
        flags = control.restriction_flags("$(EDGELOOP_CONTROL_SECRET)")
        assert shut == flags
        (told,) = [e for e in container["env"] if e["name"] == "EDGELOOP_CONTROL_SECRET"]
        where = told["valueFrom"]["secretKeyRef"]
        environ = environment(enabled)
        assert environ["EDGELOOP_OPERATOR_TRITON_SECRET"] == where["name"]
        assert environ["EDGELOOP_OPERATOR_TRITON_SECRET_KEY"] == where["key"]
        pod = named(enabled, "Deployment", "-operator")["spec"]["template"]["spec"]
        (volume,) = [each for each in pod["volumes"] if each["name"] == "triton"]
        assert volume["secret"]["secretName"] == where["name"]


def test_several_tritons_with_one_repository_have_a_name_for_all(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    claim = "repository: {kind: claim, claim: {accessModes: [ReadWriteMany]}}"
    values.write_text(f"triton: {{replicaCount: 2, {claim}}}")
    manifests = chart.parsed(chart.template(values))
    told = environment(manifests)
    assert told["EDGELOOP_OPERATOR_TRITON_PODS"] == "r-edgeloop-triton-pods.fed.svc:8001"
    assert told["EDGELOOP_OPERATOR_REPOSITORY_CLAIM"] == "r-edgeloop-triton"
    assert named(manifests, "Service", "-triton-pods")["spec"]["clusterIP"] == "None"
    values.write_text("triton: {replicaCount: 2}")
    assert "EDGELOOP_OPERATOR_TRITON_PODS" not in environment(chart.parsed(chart.template(values)))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A file with what the operator makes of a task and a generator that ask for much."""
    task = a_task(
        generator={"reference": "digits"},
        broker={"host": "b", "secretName": "s", "username": "u", "password": {"secretName": "p"}},
        storage={"className": "fast"},
        resources={"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        nodeSelector={"a": "b"},
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    )
    choice = ResolvedTask("digits", a_store("postgres"), 1)
    traced = {
        "triton_secret": "control",
        "trace_endpoint": "http://c:4318",
        "trace_headers_secret": "collector",
    }
    settings = SETTINGS.model_copy(update={"pull_secrets": ("registry",), **traced})
    objects = manifests.build_manifests(task, settings, choice)
    objects += [jobs.writer(a_generator(), Version(1, "digits"), settings)]
    objects += [jobs.remover(a_generator().metadata, settings)]
    objects += [forgetting.cleanup_job(task, settings, choice.store)]
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return path


@pytest.mark.parametrize("version", chart.VERSIONS)
def test_what_the_operator_makes_is_what_kubernetes_takes(made: Path, version: str) -> None:
    crds = sorted((chart.CHART / "crds").glob("*.yaml"))
    done = chart.run("kubernetes-validate", "--strict", "-k", version, made, *crds)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_operator_makes_keeps_to_the_policies(made: Path) -> None:
    options = ["--framework", "kubernetes", "--compact", "--quiet", "--skip-download"]
    accepted = [*ACCEPTED, "CKV2_K8S_6"]  # the chart has their network policies
    done = chart.run("checkov", "-f", made, *options, "--skip-check", ",".join(accepted))
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_signs_by_default() -> None:
    found = {name: environment(rendered(name)) for name in ("default", "external", "production")}
    said = {name: each["EDGELOOP_OPERATOR_SIGNATURES"] for name, each in found.items()}
    assert said == {"default": "accepted", "external": "off", "production": "off"}
    folder = "EDGELOOP_OPERATOR_AUTHORITY_FOLDER"
    assert [name for name, each in found.items() if folder in each] == ["default"]


@pytest.mark.parametrize(
    ("changes", "said", "held"),
    [
        ("tls.signatures=required", "required", "r-edgeloop-authority"),
        ("tls.signatures=off", "off", None),
        ("tls.signatures=false", "off", None),
        ("tls.authoritySecret=mine", "accepted", "mine"),
        ("tls.source=cert-manager", "accepted", "r-edgeloop-authority"),
        ("tls.source=cert-manager,tls.certManager.issuerRef.name=vault", "off", None),
        ("tls.source=none", "off", None),
    ],
)
def test_the_switch_and_the_authority(changes: str, said: str, held: str | None) -> None:
    manifests = rendered("default", "--set", changes)
    assert environment(manifests)["EDGELOOP_OPERATOR_SIGNATURES"] == said
    pod = named(manifests, "Deployment", "-operator")["spec"]["template"]["spec"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes.get("authority", {}).get("secret", {}).get("secretName") == held


def test_who_may_ask_the_authority_to_admit() -> None:
    manifests = rendered("enrolment")
    known, pod = environment(manifests), named(manifests, "Deployment", "-operator")
    place = known["EDGELOOP_OPERATOR_AUTHORITY_TOKEN_FILE"]
    spec = pod["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "access"]
    (item,) = volume["secret"]["items"]
    (mount,) = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "access"]
    assert place == f"{mount['mountPath']}/{item['path']}"
    assert volume["secret"]["secretName"] == "edgeloop-authority-access"
    policies = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "NetworkPolicy")
    }
    ports = [p["port"] for e in policies["edgeloop-operator"]["egress"] for p in e.get("ports", [])]
    assert 8443 in ports
    silent = environment(rendered("enrolment", "--set", "tls.signatures=off"))
    assert "EDGELOOP_OPERATOR_AUTHORITY_TOKEN_FILE" not in silent


def test_a_device_with_a_task_has_it_in_its_certificate() -> None:
    devices = "tls.devices[0].name=press-1,tls.devices[0].task=plant.t,tls.devices[1]=press-1"
    made = chart.certificates(rendered("default", "--set", devices))
    assert made is not None
    found = {each.secret: each.task for each in made.certificates if each.name == "press-1"}
    assert found == {
        "r-edgeloop-device-plant.t.press-1-tls": "plant.t",
        "r-edgeloop-device-press-1-tls": "",
    }
    manifests = rendered("default", "--set", f"tls.source=cert-manager,{devices}")
    subjects = [each["spec"].get("subject") for each in of_kind(manifests, "Certificate")]
    assert {"organizationalUnits": ["plant.t"]} in subjects
    for name in ("aggregator", "Aggregator", "operator"):
        assert "devices" in chart.refused("--set", f"tls.devices[0]={name}")
