import pytest

from cloud.aggregator.settings import TaskSettings
from cloud.operator import config
from edgeloop.runtime.config import PrivacySettings, parse
from tests.cloud.operator.examples import SETTINGS, a_store, a_task


def test_the_aggregator_reads_the_file() -> None:
    task = a_task(
        algorithm={
            "name": "fedktl",
            "variant": "paper",
            "hyperparameters": {"server_epochs": 5, "mu": "0.5", "bandwidth": "median"},
        },
        cohort={"devices": ["a", "b"], "quorum": 1, "deadlineSeconds": 7, "giveUpSeconds": 9},
        history=True,
        privacy={"noise": "1.5", "epsilon": "8"},
    )
    secret = SETTINGS.model_copy(update={"broker_secret": "certificates"})
    read = TaskSettings.model_validate(config.table(task, secret, "digits", a_store("postgres")))
    assert (str(read.store_file), str(read.broker.key_file)) == (
        "/etc/edgeloop/store/url",
        "/etc/edgeloop/tls/tls.key",
    )
    assert read.hyperparameters == {"server_epochs": 5, "mu": 0.5, "bandwidth": "median"}
    assert read.privacy == PrivacySettings(noise=1.5, epsilon=8.0)
    assert (read.name, read.algorithm, read.variant) == ("plant.shop-floor", "fedktl", "paper")
    assert (read.class_names, read.shape) == (("ok", "dent"), (1, 28, 28))
    assert (read.cohort.devices, read.cohort.quorum) == (("a", "b"), 1)
    assert (read.cohort.deadline_seconds, read.cohort.give_up_seconds) == (7.0, 9.0)
    assert (read.broker.host, read.broker.port, read.generator) == ("broker", 8883, "digits")
    assert (str(read.folder), read.history) == ("/var/lib/edgeloop", True)
    assert (read.http.host, read.http.port, read.http.linger) == ("0.0.0.0", 9464, True)  # noqa: S104


def test_processes_that_take_uploads() -> None:
    task = a_task(ingest={"replicas": 3})
    shared = TaskSettings.model_validate(config.table(task, SETTINGS, None, a_store("p"))).ingest
    assert shared.shared
    assert "ingest" not in config.table(a_task(), SETTINGS, None, None)


def test_rounds_with_a_buffer() -> None:
    task = a_task(cohort={"devices": ["a", "b"], "buffer": 2, "maxStaleness": 3})
    read = TaskSettings.model_validate(config.table(task, SETTINGS, None, None)).cohort
    assert (read.buffer, read.max_staleness) == (2, 3)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (3, 3),
        (0.05, 0.05),
        (True, True),
        ("0.05", 0.05),
        ("1e-3", 0.001),
        ("true", True),
        ("cnn", "cnn"),
        ("[1]", "[1]"),
        ("null", "null"),
        ("NaN", "NaN"),
    ],
)
def test_a_hyperparameter_is_what_it_looks_like(written: int | float | str, meant: object) -> None:
    assert config.scalar(written) == meant
    assert type(config.scalar(written)) is type(meant)


def test_a_broker_with_certificates() -> None:
    task = a_task(broker={"host": "emqx", "port": 1, "secretName": "mine"})
    table = config.table(task, SETTINGS, None, None)["broker"]
    assert table == {
        "host": "emqx",
        "port": 1,
        "connect_seconds": 60.0,
        "ca_file": "/etc/edgeloop/tls/ca.crt",
        "certificate_file": "/etc/edgeloop/tls/tls.crt",
        "key_file": "/etc/edgeloop/tls/tls.key",
    }
    assert "ca_file" not in config.table(a_task(), SETTINGS, None, None)["broker"]


def test_a_broker_with_a_password_that_wants_no_certificate() -> None:
    changes = {
        "broker_secret": "authority",
        "broker_client_certificates": False,
        "broker_username": "cloud",
        "broker_password_secret": "mqtt",
    }
    table = config.table(a_task(), SETTINGS.model_copy(update=changes), None, None)["broker"]
    assert table == {
        "host": "broker",
        "port": 8883,
        "connect_seconds": 60.0,
        "username": "cloud",
        "password_file": "/etc/edgeloop/broker/password",
        "ca_file": "/etc/edgeloop/tls/ca.crt",
    }


def test_the_operators_database_is_for_tasks_that_have_not_begun_without_it() -> None:
    shared = SETTINGS.model_copy(update={"database_secret": "postgres"})
    default, own = a_store("postgres"), a_store("mine", "k")
    asked = a_task(store={"secretName": "mine", "key": "k"})
    assert config.store(asked, shared, None) == config.store(asked, SETTINGS, {}) == own
    assert config.store(a_task(), SETTINGS, None) is None
    assert config.store(a_task(), shared, None) == default
    assert config.store(a_task(), shared, {"store_file": "f"}) == default
    assert config.store(a_task(), shared, {"name": "begun on its volume"}) is None


def test_traces_are_the_operators_to_set() -> None:
    assert "trace" not in config.table(a_task(), SETTINGS, None, None)
    place = {"trace_endpoint": "http://collector:4318", "trace_sampling": 0.5}
    settings = SETTINGS.model_copy(update={**place, "trace_headers_secret": "collector"})
    table = config.table(a_task(), settings, None, None)
    read = TaskSettings.model_validate(table).trace
    assert (read.endpoint, read.sampling) == ("http://collector:4318", 0.5)
    assert str(read.headers_file) == "/etc/edgeloop/trace/headers"
    assert config.changed_frozen_fields(config.table(a_task(), SETTINGS, None, None), table) == []


def test_a_task_that_does_not_shuffle_has_the_table_of_before_there_was_any() -> None:
    assert "shuffle" not in config.table(a_task(), SETTINGS, None, None)
    shuffling = config.table(a_task(shuffle=True), SETTINGS, None, None)
    assert TaskSettings.model_validate(shuffling).shuffle


def test_a_base_is_told_and_held_to_wherever_its_server_is() -> None:
    assert "base" not in config.table(a_task(), SETTINGS, None, None)
    tables = [
        config.table(a_task(), SETTINGS, None, None, f"http://{place}/faces?version={version}")
        for place, version in (("old:1", 1), ("new:2", 1), ("new:2", 2))
    ]
    assert TaskSettings.model_validate(tables[0]).base == "http://old:1/faces?version=1"
    assert config.changed_frozen_fields(tables[0], tables[1]) == []
    assert config.changed_frozen_fields(tables[1], tables[2]) == ["base"]
    assert config.changed_frozen_fields(
        config.table(a_task(), SETTINGS, None, None), tables[0]
    ) == ["base"]


def test_what_may_not_change_once_a_run_has_begun() -> None:
    old = config.table(a_task(), SETTINGS, "triton://old:1/faces?version=1", None)
    same = config.table(
        a_task(cohort={"devices": ["press-1", "press-2"]}, history=True, retries=1),
        SETTINGS.model_copy(update={"broker_host": "another"}),
        "triton://new:2/faces?version=1",
        None,
    )
    assert config.changed_frozen_fields(old, same) == []
    other = a_task(
        algorithm={"name": "fedtgp", "hyperparameters": {"x": 1}},
        cohort={"devices": ["press-1"], "robust": "krum", "secure": True, "stepSeconds": 9},
        seed=1,
        batchSize=1,
        shuffle=True,
        privacy={},
    )
    new = config.table(other, SETTINGS, "triton://new:2/faces?version=2", a_store("s"))
    assert config.changed_frozen_fields(old, new) == [
        "algorithm.name",
        "algorithm.hyperparameters",
        "batchSize",
        "seed",
        "shuffle",
        "store",
        "privacy",
        "cohort.devices",
        "cohort.robust",
        "cohort.secure",
        "generator",
    ]
    table = config.table(other, SETTINGS, None, None)
    assert table["cohort"]["robust"] == "krum"
    assert (table["cohort"]["secure"], table["cohort"]["step_seconds"]) == (True, 9.0)


WAY = {
    "transport": "websockets",
    "path": "/mqtt/v5",
    "alpn": "mqtt",
    "proxy": "http://proxy:3128",
    "prefix": "plant-3/",
    "client_id_prefix": "p3-",
}


def test_a_broker_that_is_reached_another_way() -> None:
    """As the operator has it, or a task of its own; where nothing is said, no pod is made again."""
    certificates = {"broker_secret": "mine"}
    changes = {f"broker_{key}": value for key, value in WAY.items()} | certificates
    settings = SETTINGS.model_copy(update=changes)
    assert config.table(a_task(), settings, None, None)["broker"].items() >= WAY.items()
    plain = config.table(a_task(), SETTINGS, None, None)["broker"]
    assert not WAY.keys() & plain.keys()
    camel = {**WAY, "clientIdPrefix": WAY["client_id_prefix"]}
    del camel["client_id_prefix"]
    own = a_task(broker={"host": "emqx", "port": 1, "secretName": "mine", **camel})
    written = config.table(own, SETTINGS, None, None)
    assert written["broker"].items() >= WAY.items()
    assert parse(written, TaskSettings, "task.toml").broker.prefix == "plant-3/"
