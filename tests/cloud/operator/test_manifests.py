from typing import Any

import pytest

from cloud.operator import jobs, manifests
from cloud.operator.jobs import Version
from cloud.operator.manifests import ResolvedTask
from cloud.operator.objects import APPLIED
from cloud.operator.spec import Task
from tests.cloud.operator.examples import SETTINGS, a_generator, a_store, a_task


def made(task: Task, **choice: Any) -> dict[str, Any]:
    chosen = ResolvedTask(**{"generator": None, "store": None, "replicas": 1, **choice})
    return {each["kind"]: each for each in manifests.build_manifests(task, SETTINGS, chosen)}


def test_everything_is_the_tasks() -> None:
    found = made(a_task())
    assert list(found) == ["ConfigMap", "PersistentVolumeClaim", "Service", "StatefulSet"]
    owner = {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "FederatedTask",
        "name": "shop-floor",
        "uid": "u1",
        "controller": True,
    }
    for each in found.values():
        meta = each["metadata"]
        assert (meta["name"], meta["namespace"]) == ("shop-floor-aggregator", "plant")
        assert meta["ownerReferences"] == [owner]
        assert meta["labels"]["app.kubernetes.io/instance"] == "shop-floor"
        assert meta["annotations"][APPLIED]


def test_an_aggregator_logs_as_the_operator_is_told() -> None:
    for form, told in (("plain", {}), ("json", {"EDGELOOP_LOG_FORMAT": "json"})):
        settings = SETTINGS.model_copy(update={"log_format": form})
        choice = ResolvedTask(generator=None, store=None, replicas=1)
        (of,) = [
            each
            for each in manifests.build_manifests(a_task(), settings, choice)
            if each["kind"] == "StatefulSet"
        ]
        container = of["spec"]["template"]["spec"]["containers"][0]
        found = {each["name"]: each["value"] for each in container["env"]}
        quiet = {"HOME": "/tmp", "ORT_DISABLE_TELEMETRY": "1"}  # noqa: S108 - a pod's
        assert found == {**quiet, "OMP_NUM_THREADS": "1", **told}


def test_a_volume_that_is_retained_has_no_owner() -> None:
    storage = {"size": "5Gi", "className": "fast", "retain": True}
    claim = made(a_task(storage=storage))["PersistentVolumeClaim"]
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
    }


def test_selectors_match_the_pods() -> None:
    found = made(a_task())
    template = found["StatefulSet"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    ports = template["spec"]["containers"][0]["ports"]
    assert ports == [{"name": "metrics", "containerPort": 9464, "protocol": "TCP"}]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == "metrics"


def test_every_volume_has_its_mount() -> None:
    store = a_store("postgres", "k")
    task = a_task(broker={"host": "b", "secretName": "mine", "password": {"secretName": "p"}})
    pod = made(task, store=store)["StatefulSet"]["spec"]["template"]["spec"]
    volumes = {each.pop("name"): each for each in pod["volumes"]}
    mounts = {each["name"]: each for each in pod["containers"][0]["volumeMounts"]}
    assert volumes.keys() == mounts.keys() == {"task", "folder", "tmp", "tls", "broker", "store"}
    assert volumes["tls"] == {"secret": {"secretName": "mine", "defaultMode": 0o440}}
    assert volumes["broker"]["secret"]["items"] == [{"key": "password", "path": "password"}]
    assert volumes["store"]["secret"]["items"] == [{"key": "k", "path": "url"}]
    assert mounts["folder"]["mountPath"] == "/var/lib/edgeloop"
    assert {name for name, each in mounts.items() if not each["readOnly"]} == {"folder", "tmp"}


@pytest.mark.parametrize("kind", ["aggregator", "writer"])
def test_no_pod_has_rights(kind: str) -> None:
    job = jobs.writer(a_generator(), Version(1, "digits"), SETTINGS)
    whole = job if kind == "writer" else made(a_task())["StatefulSet"]
    pod = whole["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_another_file_is_another_pod_and_a_pause_is_not() -> None:
    def template(task: Task, replicas: int = 1) -> object:
        return made(task, replicas=replicas)["StatefulSet"]["spec"]["template"]

    assert template(a_task()) == template(a_task(), replicas=0)
    assert template(a_task()) != template(a_task(history=True))
    running, paused = made(a_task()), made(a_task(), replicas=0)
    applied = [each["StatefulSet"]["metadata"]["annotations"] for each in (running, paused)]
    assert applied[0] != applied[1]
    assert paused["StatefulSet"]["spec"]["replicas"] == 0


def test_where_the_pod_runs() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    resources = {"requests": {"cpu": 1}, "limits": {"memory": "4Gi"}}
    found = made(a_task(nodeSelector={"a": "b"}, tolerations=tolerations, resources=resources))
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"a": "b"}, tolerations)
    assert pod["containers"][0]["resources"] == resources


def test_a_writer_does_what_its_name_stands_for() -> None:
    generator = a_generator(canary={"source": "faces-2", "version": 2})
    stable, canary = (
        jobs.writer(generator, version, SETTINGS) for version in jobs.versions(generator.spec)
    )
    command = canary["spec"]["template"]["spec"]["containers"][0]["command"]
    assert " ".join(command) == (
        "edgeloop generator serve-files faces-2 /models --name faces --version 2 "
        "--backend onnxruntime --instances 1 --max-batch-size 64 --cpu --server triton:8001"
    )
    again = jobs.writer(generator, Version(1, "digits"), SETTINGS)
    other = jobs.writer(a_generator(serving={"gpu": True}), Version(1, "digits"), SETTINGS)
    names = [each["metadata"]["name"] for each in (stable, again, canary, other)]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert names[0].startswith("faces-v1-")


def test_processes_that_take_uploads_have_the_tasks_file_and_no_volume() -> None:
    task = a_task(ingest={"replicas": 2})
    choice = ResolvedTask(None, a_store("p"), 1)
    made = manifests.build_manifests(task, SETTINGS, choice)
    (found,) = [each for each in made if each["kind"] == "Deployment"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["edgeloop", "ingest", "--config"]
    volumes = {each["name"]: each for each in found["spec"]["template"]["spec"]["volumes"]}
    assert volumes["folder"] == {"name": "folder", "emptyDir": {}}
    assert volumes["task"]["configMap"]["name"] == "shop-floor-aggregator"
    assert volumes["store"]["secret"]["secretName"] == "p"
    aggregators = manifests.labels(task.metadata)
    assert found["spec"]["selector"]["matchLabels"] != aggregators
    kinds = [each["kind"] for each in manifests.build_manifests(a_task(), SETTINGS, choice)]
    assert "Deployment" not in kinds
