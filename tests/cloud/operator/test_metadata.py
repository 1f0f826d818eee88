"""The small API server refuses in metadata what Kubernetes refuses, however it is sent."""

from typing import Any

import httpx
import pytest

from tests.cloud.operator.cluster import Cluster, Object, task

LONG = "a" * 63

GOOD: list[Object] = [
    {"annotations": {"edgeloop.io/create": "", "Edgeloop.IO/Look": "x", "a": "b" * 1000}},
    {"annotations": {f"{LONG}.{LONG}.{LONG}.{'a' * 61}/{LONG}": "1"}},
    {"annotations": {"a": "x" * (256 * 1024 - 1)}},
    {"labels": {"app.kubernetes.io/name": "Press_1.a", LONG: LONG, "empty": ""}},
    {"finalizers": ["edgeloop.io/operator", "foregroundDeletion"]},
]
WRONG: list[tuple[Object, str]] = [
    ({"annotations": {"edgeloop.io/_remove": ""}}, "metadata.annotations"),
    ({"annotations": {"edgeloop.io/remove_": ""}}, "metadata.annotations"),
    ({"annotations": {"edgeloop.io/": ""}}, "metadata.annotations"),
    ({"annotations": {"/remove": ""}}, "metadata.annotations"),
    ({"annotations": {"a/b/c": ""}}, "metadata.annotations"),
    ({"annotations": {"edgeloop_io/remove": ""}}, "metadata.annotations"),
    ({"annotations": {f"edgeloop.io/{LONG}a": ""}}, "metadata.annotations"),
    ({"annotations": {"edgeloop.io/<locals>": ""}}, "metadata.annotations"),
    ({"annotations": {"ä": ""}}, "metadata.annotations"),
    ({"annotations": {"edgeloop.io/x\n": ""}}, "metadata.annotations"),
    ({"annotations": {"a": "x" * 256 * 1024}}, "metadata.annotations"),
    ({"annotations": {"a": 1}}, "metadata.annotations"),
    ({"annotations": {"a": "ä" * 131072}}, "metadata.annotations"),
    ({"labels": {"Edgeloop.io/a": "b"}}, "metadata.labels"),
    ({"labels": {"_a": "b"}}, "metadata.labels"),
    ({"labels": {"a": f"{LONG}a"}}, "metadata.labels"),
    ({"labels": {"a": "-b"}}, "metadata.labels"),
    ({"labels": {"a": "b c"}}, "metadata.labels"),
    ({"labels": {"a": True}}, "metadata.labels"),
    ({"finalizers": ["operator"]}, "metadata.finalizers"),
    ({"finalizers": ["edgeloop.io/_operator"]}, "metadata.finalizers"),
    ({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a"}]}, "uid"),
]
NAMES = ["A", "a_b", "-a", "a-", "a..b", "a" * 254, "a/b", "press 1", "ü", "a\n"]
HOW = ("create", "update", "merge", "json", "apply")


def sent(cluster: Cluster, how: str, meta: Object) -> httpx.Response:
    """Send metadata as a new object's, or as an object's that is there already."""
    path, body = cluster.path("federatedtasks"), task()
    if how == "create":
        return cluster.http.post(path, json={**body, "metadata": {**body["metadata"], **meta}})
    if how == "apply":
        told: Any = {**body, "metadata": {**body["metadata"], **meta}}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        place = f"{path}/{told['metadata']['name']}?fieldManager=me"
        return cluster.http.patch(place, json=told, headers=headers)
    held = cluster.create("federatedtasks", body)
    place = f"{path}/shop-floor"
    if how == "update":
        return cluster.http.put(place, json={**held, "metadata": {**held["metadata"], **meta}})
    headers = {"Content-Type": f"application/{how}-patch+json"}
    if how == "merge":
        return cluster.http.patch(place, json={"metadata": meta}, headers=headers)
    steps = [{"op": "add", "path": f"/metadata/{key}", "value": meta[key]} for key in meta]
    return cluster.http.patch(place, json=steps, headers=headers)


@pytest.mark.parametrize("how", HOW)
def test_what_is_right_is_taken(cluster: Cluster, how: str) -> None:
    for meta in GOOD:
        answer = sent(cluster, how, meta)
        assert answer.is_success, answer.text
        found = cluster.get("federatedtasks", answer.json()["metadata"]["name"])
        assert found is not None
        assert meta.items() <= found["metadata"].items()
        cluster.patch("federatedtasks", found["metadata"]["name"], {"metadata": {"finalizers": []}})
        cluster.delete("federatedtasks", found["metadata"]["name"])


@pytest.mark.parametrize("how", HOW)
def test_what_is_wrong_is_refused_and_named(cluster: Cluster, how: str) -> None:
    for meta, field in WRONG:
        answer = sent(cluster, how, meta)
        assert answer.status_code == 422, (meta, answer.text[:300])
        status = answer.json()
        assert (status["kind"], status["reason"], status["code"]) == ("Status", "Invalid", 422)
        assert field in status["message"]
        assert any(field in each["field"] for each in status["details"]["causes"])
        found = cluster.get("federatedtasks", "shop-floor")
        if found is not None:
            assert not found["metadata"].get("annotations", {}), "it was kept all the same"
            cluster.delete("federatedtasks", "shop-floor")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none(cluster: Cluster, name: str) -> None:
    assert sent(cluster, "create", {"name": name}).status_code == 422
    body = {"metadata": {"generateName": f"{name}_"}, "spec": {}}
    assert cluster.http.post(cluster.path("configmaps"), json=body).status_code == 422


def test_names_of_kinds_that_take_a_label_only(cluster: Cluster) -> None:
    for name in ("a.b", "1a", "a" * 64):
        body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        assert cluster.http.post(cluster.path("services"), json=body).status_code == 422
    for name in ("1a.b", f"{LONG}.{LONG}.{LONG}.{'a' * 61}"):
        body = {"metadata": {"name": name}}
        assert cluster.http.post(cluster.path("configmaps"), json=body).is_success


def test_a_name_that_is_made_up(cluster: Cluster) -> None:
    path = cluster.path("configmaps")
    made = cluster.http.post(path, json={"metadata": {"generateName": "shop-floor-"}}).json()
    assert made["metadata"]["name"].startswith("shop-floor-")
    assert len(made["metadata"]["name"]) == len("shop-floor-") + 5
    refused = cluster.http.post(path, json={"metadata": {}})
    assert refused.status_code == 422
    assert "name or generateName is required" in refused.json()["message"]


def test_another_place_than_where_it_is_sent(cluster: Cluster) -> None:
    assert sent(cluster, "create", {"namespace": "elsewhere"}).status_code == 400
    assert sent(cluster, "update", {"name": "other"}).status_code == 400


def test_no_finalizer_is_added_once_an_object_goes(cluster: Cluster) -> None:
    assert sent(cluster, "create", {"finalizers": ["edgeloop.io/operator"]}).is_success
    cluster.delete("federatedtasks", "shop-floor")
    place = cluster.path("federatedtasks", "shop-floor")
    headers = {"Content-Type": "application/merge-patch+json"}
    more = {"metadata": {"finalizers": ["edgeloop.io/operator", "edgeloop.io/more"]}}
    answer = cluster.http.patch(place, json=more, headers=headers)
    assert answer.status_code == 422
    assert "no new finalizers can be added" in answer.json()["message"]
    cluster.patch("federatedtasks", "shop-floor", {"metadata": {"finalizers": None}})


def test_a_status_changes_no_metadata(cluster: Cluster) -> None:
    cluster.create("federatedtasks", task())
    meta = {"labels": {"a": "b"}, "annotations": {"edgeloop.io/_x": ""}}
    body = {"metadata": meta, "status": {"phase": "Running"}}
    cluster.patch("federatedtasks", "shop-floor", body, sub="/status")
    found = cluster.get("federatedtasks", "shop-floor")
    assert found is not None
    assert not {"labels", "annotations"} & found["metadata"].keys()
    assert found["status"]["phase"] == "Running"
