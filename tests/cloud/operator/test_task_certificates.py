"""The operator signs its aggregators' certificates, renews them, and takes nobody else's secret."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes.config
import pytest
from cryptography import x509

from cloud.aggregator.settings import TaskSettings
from cloud.authority.identity import Identity, of_certificate
from cloud.operator import certificates, config
from cloud.operator.certificates import Pair
from cloud.operator.cluster import Cluster as Client
from cloud.operator.references import NotReadyError
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Task
from cloud.operator.task_certificates import TaskCertificates
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, Object, condition, secret, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator, kubeconfig
from tests.cloud.operator.examples import SETTINGS, a_task
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_drift import others, quiet
from tests.cloud.operator.test_operator import NAME, phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "shop-floor-aggregator-tls"  # noqa: S105 - its name


def write(folder: Path, pair: Pair) -> None:
    """Put an authority where the chart mounts it."""
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    folder = tmp_path / "authority"
    write(folder, certificates.new_authority("one", datetime.now(UTC)))
    return folder


@pytest.fixture
def signing(authority: Path, aggregator: Aggregator) -> tuple[str, ...]:
    """The flags of an operator that signs."""
    return (*aggregator.flags, "--authority-folder", str(authority), "--signatures", "required")


def signs(folder: Path, **changes: Any) -> OperatorSettings:
    return SETTINGS.model_copy(
        update={"authority_folder": folder, "signatures": "required", **changes}
    )


def data(cluster: Cluster) -> dict[str, bytes] | None:
    """Return what is in a task's secret; None if there is none."""
    found = cluster.get("secrets", SECRET)
    if found is None:
        return None
    return {key: base64.b64decode(each) for key, each in found["data"].items()}


# ---- what is asked for


def test_who_signs_and_whom_it_believes(authority: Path) -> None:
    settings = signs(authority)
    table = config.table(a_task(), settings, None, None)
    assert TaskSettings.model_validate(table).broker.signing == "required"
    assert table["broker"]["devices_file"] == "/etc/edgeloop/tls/devices.crt"
    asked = config.table(a_task(), signs(authority, authority_url="https://a:1"), None, None)
    assert (asked["authority"], "devices_file" in asked["broker"]) == ("https://a:1", False)
    assert TaskSettings.model_validate(asked).broker.signatures == "required"
    silent = config.table(a_task(signatures="off"), settings, None, None)
    assert not {"signatures", "devices_file"} & silent["broker"].keys()
    assert config.broker(a_task(), settings).secret_name == SECRET
    assert config.broker(a_task(signatures="off"), settings).secret_name is None


def test_a_task_with_a_broker_of_its_own_signs_by_its_own_certificates(authority: Path) -> None:
    place = {"host": "emqx", "secretName": "mine"}
    quiet = a_task(broker=place)
    assert config.signatures(quiet, signs(authority)) == "off"
    asked = a_task(broker=place, signatures="accepted")
    table = config.table(asked, signs(authority, authority_url="https://a:1"), None, None)
    assert table["broker"]["signatures"] == "accepted"
    assert table["broker"]["devices_file"] == "/etc/edgeloop/tls/devices.crt"
    assert "authority" not in table, "the operator's knows nobody of another broker's"
    assert config.broker(asked, signs(authority)).secret_name == "mine"  # noqa: S105 - its name


# ---- with a cluster


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Client:
    """What an operator writes by."""
    path = tmp_path / "config"
    path.write_text(kubeconfig(server.url))
    kubernetes.config.load_kube_config(str(path))
    return Client()


@pytest.fixture
def held(cluster: Cluster) -> Task:
    """A task that is in the cluster."""
    return Task.model_validate(cluster.create("federatedtasks", task()))


def stamp(days: float) -> str:
    return (NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_it_is_renewed_in_time_and_follows_its_authority(
    cluster: Cluster, client: Client, held: Task, tmp_path: Path
) -> None:
    folder, first = tmp_path / "authority", certificates.new_authority("one", NOW)
    write(folder, first)
    made = TaskCertificates(client, signs(folder, certificate_days=30))
    made.ensure(held, stamp(0))
    found = data(cluster)
    assert found is not None
    shown = x509.load_pem_x509_certificate(found["tls.crt"])
    assert of_certificate(shown) == Identity("plant.shop-floor", "aggregator")
    assert found["ca.crt"] == found["devices.crt"] == first.certificate
    for again in (made, TaskCertificates(client, signs(folder, certificate_days=30))):
        again.ensure(held, stamp(19))
        assert data(cluster) == found, "kept, and by an operator that was started again"
    made.ensure(held, stamp(21))
    later = data(cluster)
    assert later is not None
    assert later["tls.crt"] != found["tls.crt"]
    write(folder, certificates.new_authority("two", NOW))
    (folder / "devices.crt").write_bytes(first.certificate)
    made.ensure(held, stamp(21))
    other = data(cluster)
    assert other is not None
    assert (other["devices.crt"], other["ca.crt"]) == (
        first.certificate,
        (folder / "tls.crt").read_bytes(),
    )


def test_without_an_authority_nothing_is_signed(client: Client, held: Task, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    made = TaskCertificates(client, signs(folder))
    with pytest.raises(NotReadyError, match=r"tls\.crt cannot be read \(No such file"):
        made.ensure(held, stamp(0))
    one, other = (certificates.new_authority(name, NOW) for name in ("one", "two"))
    leaf = certificates.signed(
        certificates.Wanted(secret="s", name="aggregator"),  # noqa: S106 - its name
        one,
        1,
        NOW,
    )
    for pair in (Pair(one.certificate, other.key), leaf, Pair(b"none", b"none")):
        write(folder, pair)
        with pytest.raises(NotReadyError, match="hold no authority, or the key of another one"):
            made.ensure(held, stamp(0))


def test_a_task_signs_from_its_first_look_on(
    cluster: Cluster,
    start_operator: StartOperator,
    signing: tuple[str, ...],
    kubelet: Kubelet,
) -> None:
    start_operator(*signing)
    created = cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    found, made = cluster.get("secrets", SECRET), cluster.get("statefulsets", NAME)
    assert found is not None
    assert made is not None
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("FederatedTask", created["metadata"]["uid"])
    volumes = {each["name"]: each for each in made["spec"]["template"]["spec"]["volumes"]}
    assert volumes["tls"]["secret"] == {"secretName": SECRET, "defaultMode": 0o440}
    cluster.delete("federatedtasks", "shop-floor")
    wait("all is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    if cluster.collects:
        assert cluster.get("secrets", SECRET) is None


def _deleted(cluster: Cluster) -> None:
    cluster.delete("secrets", SECRET)


def _key_changed(cluster: Cluster) -> None:
    other = certificates.new_authority("other", NOW).key
    cluster.patch("secrets", SECRET, {"data": {"tls.key": base64.b64encode(other).decode()}})


def _trusts_another(cluster: Cluster) -> None:
    other = certificates.new_authority("other", NOW).certificate
    cluster.patch("secrets", SECRET, {"data": {"devices.crt": base64.b64encode(other).decode()}})


def _unlabelled(cluster: Cluster) -> None:
    labels = {"app.kubernetes.io/managed-by": None}
    cluster.patch("secrets", SECRET, {"metadata": {"labels": labels}})


@pytest.mark.parametrize("change", [_deleted, _key_changed, _trusts_another, _unlabelled])
def test_drift_of_a_certificate_is_put_back(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    signing: tuple[str, ...],
    kubelet: Kubelet,
    authority: Path,
    change: Any,
) -> None:
    start_operator(*signing)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    changed: list[Object | None] = []

    def good() -> bool:
        found = cluster.get("secrets", SECRET)
        if found is None or found == changed[0]:
            return False
        content = {key: base64.b64decode(each) for key, each in found["data"].items()}
        own = Pair(content["tls.crt"], content["tls.key"])
        ours = found["metadata"]["labels"].get("app.kubernetes.io/managed-by")
        trusted = (authority / "tls.crt").read_bytes()
        signed = x509.load_pem_x509_certificate(own.certificate)
        key = certificates.read_key(own.key).public_key()
        whole = content["devices.crt"] == content["ca.crt"] == trusted
        return whole and ours == "edgeloop-operator" and signed.public_key() == key

    change(cluster)
    changed.append(cluster.get("secrets", SECRET))
    wait("it is put back", good)
    begin = quiet(server)
    assert others(server, begin) == []
    assert cluster.status("shop-floor")["phase"] == "Running"


def test_a_foreign_secret_is_not_taken(
    cluster: Cluster, start_operator: StartOperator, signing: tuple[str, ...]
) -> None:
    cluster.create("secrets", secret(SECRET, "broker"))
    start_operator(*signing)
    cluster.create("federatedtasks", task())
    wait("it is looked at", lambda: "conditions" in cluster.status("shop-floor"))
    status = cluster.status("shop-floor")
    assert condition(status, "Accepted")["status"] == "False"
    assert f"the secret {SECRET} is there already, and is not this task's" in status["lastError"]
    assert not cluster.listed("statefulsets")
    found = cluster.get("secrets", SECRET)
    assert found is not None
    assert "ownerReferences" not in found["metadata"]
    cluster.delete("secrets", SECRET)
    wait("it goes on", lambda: cluster.get("statefulsets", NAME))


def test_an_operator_without_an_authority_says_so(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, tmp_path: Path
) -> None:
    folder = tmp_path / "late"
    start_operator(*aggregator.flags, "--authority-folder", str(folder), "--signatures", "required")
    cluster.create("federatedtasks", task())
    said = wait("it says so", lambda: cluster.status("shop-floor").get("lastError"))
    assert f"{folder}/tls.crt cannot be read" in said
    write(folder, certificates.new_authority("one", datetime.now(UTC)))
    wait("it goes on", lambda: cluster.get("statefulsets", NAME))


def test_signatures_without_certificates_are_refused(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(signatures="required"))
    wait("it is looked at", lambda: "conditions" in cluster.status("shop-floor"))
    said = cluster.status("shop-floor")["lastError"]
    assert said.startswith("signatures: the operator has no certificates to sign with")
