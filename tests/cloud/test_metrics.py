import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cloud.aggregator.ledger import RoundCounts
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.watch import EventReporter
from edgeloop.client import Report
from edgeloop.cohorts.events import DeviceMessage
from edgeloop.protocol.device_health import BOUNDS
from edgeloop.protocol.gathering import Verdict
from edgeloop.runtime.config import PrivacySettings, parse
from tests.authority import Authority
from tests.world import contract

CONTRACT = contract(task="cats", run="first", algorithm="fedtgp", rounds=3)


def scraped(metrics: Metrics) -> dict[str, float]:
    """Return each sample's value by its name and labels, as Prometheus reads them."""
    return {
        " ".join(
            [sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")  # the time of day
        and not sample.name.startswith("process_")  # this process's own
    }


def changed(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return the samples that differ; of a histogram, without its buckets."""
    return {
        name: value
        for name, value in after.items()
        if "_bucket" not in name and value != before.get(name) and not math.isnan(value)
    }


TABLE = {
    "name": "cats",
    "algorithm": "fedtgp",
    "class_names": ["a", "b"],
    "shape": [1, 28, 28],
    "rounds": 3,
    "folder": "nowhere",
    "cohort": {"devices": ["one", "two"], "deadline_seconds": 60, "give_up_seconds": 90},
}
SETTINGS = parse(TABLE, TaskSettings, "cats")
KNOWN_LATER = {  # NaN until somebody tells
    "edgeloop_accuracy_ratio",
    *(
        f"edgeloop_device_{name} quantile={share}"
        for name in ("accuracy_ratio", "epsilon", *BOUNDS)
        for share in ("0", "0.5", "1")
    ),
    "edgeloop_epsilon_budget",
}


def test_before_anything_happened_all_is_zero_and_what_is_measured_unknown() -> None:
    values = scraped(Metrics())
    assert {name for name, value in values.items() if math.isnan(value)} == KNOWN_LATER
    others = {name: value for name, value in values.items() if name not in KNOWN_LATER}
    assert others.pop("edgeloop_generator_ready") == 1.0  # nothing waits for it
    assert others.pop("edgeloop_task_phase phase=starting") == 1.0
    assert set(others.values()) == {0.0}


STEP = "edgeloop_round_step_seconds"
EVENTS: list[tuple[Callable[[Metrics], None], dict[str, float]]] = [
    (
        lambda metrics: metrics.run_started(CONTRACT, SETTINGS, 900.0),
        {
            "edgeloop_task_info algorithm=fedtgp run=first task=cats": 1,
            "edgeloop_rounds_planned": 3,
            "edgeloop_devices_invited": 2,
            "edgeloop_quorum": 2,
            "edgeloop_round_deadline_seconds": 60,
            "edgeloop_round_give_up_seconds": 90,
            "edgeloop_ledger_committed_timestamp_seconds": 900,
        },
    ),
    (
        lambda metrics: metrics.phase("running"),
        {
            "edgeloop_task_phase phase=starting": 0,
            "edgeloop_task_phase phase=running": 1,
        },
    ),
    (lambda metrics: metrics.connected(True), {"edgeloop_broker_connected": 1}),
    (
        lambda metrics: metrics.round_opened(1, 500),
        {
            "edgeloop_round": 1,
            "edgeloop_round_opened_timestamp_seconds": 1000,
            "edgeloop_broadcast_bytes_total": 500,
        },
    ),
    (
        lambda metrics: metrics.step("publish", 0.5),
        {f"{STEP}_count step=publish": 1, f"{STEP}_sum step=publish": 0.5},
    ),
    (
        lambda metrics: metrics.message_received(Verdict.ACCEPTED, 30, 4.0),
        {
            "edgeloop_uploads_total verdict=accepted": 1,
            "edgeloop_upload_bytes_total": 30,
            "edgeloop_round_answers": 1,
            "edgeloop_upload_delay_seconds_count": 1,
            "edgeloop_upload_delay_seconds_sum": 4,
        },
    ),
    (
        lambda metrics: metrics.message_received(Verdict.LATE, 12, 5.0),
        {"edgeloop_uploads_total verdict=late": 1, "edgeloop_upload_bytes_total": 42},
    ),
    (lambda metrics: metrics.ignored(2), {"edgeloop_ignored_fields_total": 2}),
    (lambda metrics: metrics.answers_missing(2), {"edgeloop_stragglers_total": 2}),
    (
        lambda metrics: metrics.algorithm_metrics({"margin": 1.5}),
        {"edgeloop_algorithm_measure measure=margin": 1.5},
    ),
    (
        lambda metrics: metrics.ledger_write(0.25),
        {"edgeloop_ledger_write_seconds_count": 1, "edgeloop_ledger_write_seconds_sum": 0.25},
    ),
    (
        lambda metrics: metrics.generator(False),
        {"edgeloop_generator_ready": 0, "edgeloop_generator_failures_total": 1},
    ),
    (lambda metrics: metrics.generator(True), {"edgeloop_generator_ready": 1}),
    (
        lambda metrics: metrics.generator_request("synthesize", 0.5),
        {
            "edgeloop_generator_seconds_count operation=synthesize": 1,
            "edgeloop_generator_seconds_sum operation=synthesize": 0.5,
        },
    ),
    (
        lambda metrics: metrics.round_closed(1, 7.5),
        {
            "edgeloop_round": 2,
            "edgeloop_rounds_closed_total": 1,
            "edgeloop_round_seconds_count": 1,
            "edgeloop_round_seconds_sum": 7.5,
            "edgeloop_ledger_committed_timestamp_seconds": 1000,
        },
    ),
    (
        lambda metrics: metrics.evaluated(RoundCounts(1, 1, 2)),
        {"edgeloop_participants": 1, "edgeloop_accuracy_ratio": 0.5},
    ),
    (lambda metrics: metrics.connected(False), {"edgeloop_broker_connected": 0}),
    (
        lambda metrics: metrics.connected(True),
        {"edgeloop_broker_connected": 1, "edgeloop_broker_reconnects_total": 1},
    ),
]
"""What happens, in this order, and what it changes."""


def test_each_event_changes_just_its_own_metrics() -> None:
    metrics = Metrics(lambda: 1000.0)
    for happen, expected in EVENTS:
        before = scraped(metrics)
        happen(metrics)
        assert changed(before, scraped(metrics)) == expected


def test_a_round_without_test_samples_has_no_accuracy() -> None:
    metrics = Metrics()
    metrics.evaluated(RoundCounts(2, 3, 4))
    metrics.evaluated(RoundCounts(1, 0, 0))
    assert math.isnan(scraped(metrics)["edgeloop_accuracy_ratio"])


def test_the_fleet_is_smallest_middle_and_largest_of_the_devices_online() -> None:
    metrics = Metrics()
    fleet = metrics.fleet
    for name, battery in (("a", 0.9), ("b", 0.1), ("c", 0.5), ("gone", 0.0)):
        fleet.reported(name, Report(1, 4, 9, 0.5, 20.0, battery_ratio=battery))
        fleet.presence(name, online=name != "gone")
    fleet.presence("silent", online=True)
    values = scraped(metrics)
    shares = [values[f"edgeloop_device_battery_ratio quantile={q}"] for q in ("0", "0.5", "1")]
    assert shares == [0.1, 0.5, 0.9]
    assert values["edgeloop_devices_online"] == 4
    assert values["edgeloop_devices_reporting reading=battery_ratio"] == 3
    assert values["edgeloop_devices_reporting reading=cpu_ratio"] == 0
    for name in ("a", "b", "c"):
        fleet.presence(name, online=False)
    assert math.isnan(scraped(metrics)["edgeloop_device_battery_ratio quantile=0"])


def test_what_privacy_devices_have_spent() -> None:
    metrics = Metrics()
    asked = CONTRACT.model_copy(update={"privacy": PrivacySettings(epsilon=8.0)})
    metrics.run_started(asked, SETTINGS, None)
    assert metrics.fleet.epsilon is None
    metrics.fleet.spent_before = 9.0  # as a summary tells of a run that has ended
    assert metrics.fleet.epsilon == 9.0
    for name, epsilon in (("a", 1.0), ("b", 0.5), ("c", 3.0), ("a", 2.0)):
        metrics.fleet.reported(name, Report(1, 4, 9, 0.5, 20.0, epsilon=epsilon))
    assert metrics.fleet.epsilon == 3.0
    values = scraped(metrics)
    shares = [values[f"edgeloop_device_epsilon quantile={q}"] for q in ("0", "0.5", "1")]
    assert shares == [0.5, 2.0, 3.0]
    assert values["edgeloop_epsilon_budget"] == 8.0


def test_what_devices_measured() -> None:
    metrics = Metrics()
    reports = {
        "a": Report(1, 4, 9, 0.5, 20.0),
        "b": Report(4, 4, 9, 0.25, 40.0),
        "blind": Report(0, 0, 9, 0.0, 0.0),
    }
    metrics.fleet.evaluated(reports)
    metrics.fleet.trained(reports.values())
    values = scraped(metrics)
    assert values["edgeloop_device_accuracy_ratio quantile=0"] == 0.25
    assert values["edgeloop_device_accuracy_ratio quantile=1"] == 1
    assert values["edgeloop_device_training_seconds_sum"] == 60
    assert values["edgeloop_device_training_seconds_count"] == 3
    assert values["edgeloop_device_evaluation_seconds_sum"] == 0.75


def secured(folder: Path) -> tuple[TaskSettings, Authority, Path]:
    """Return settings with certificates, who signed them, and the aggregator's own."""
    authority = Authority(folder)
    certificate, key = authority.sign("aggregator")
    broker = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    return parse({**TABLE, "broker": broker}, TaskSettings, "cats"), authority, certificate


def test_when_certificates_expire(tmp_path: Path) -> None:
    settings, authority, certificate = secured(tmp_path)
    metrics = Metrics()
    metrics.run_started(CONTRACT, settings, None)
    name = "edgeloop_certificate_expiry_timestamp_seconds certificate="
    soon = authority.sign("soon", until=datetime(2030, 1, 2, tzinfo=UTC))[0]
    certificate.write_bytes(soon.read_bytes())
    values = scraped(metrics)
    assert values[name + "own"] == datetime(2030, 1, 2, tzinfo=UTC).timestamp(), "read again"
    assert values[name + "authority"] > values[name + "own"]
    certificate.write_text("half")
    assert math.isnan(scraped(metrics)[name + "own"])


def test_durations_fall_into_their_buckets() -> None:
    metrics = Metrics()
    metrics.round_closed(0, 45.0)
    metrics.ledger_write(0.02)
    values = scraped(metrics)
    assert values["edgeloop_round_seconds_bucket le=30.0"] == 0
    assert values["edgeloop_round_seconds_bucket le=60.0"] == 1
    assert values["edgeloop_ledger_write_seconds_bucket le=0.01"] == 0
    assert values["edgeloop_ledger_write_seconds_bucket le=0.025"] == 1


def test_every_verdict_has_a_series() -> None:
    metrics = Metrics()
    for count, verdict in enumerate(Verdict, start=1):
        for _ in range(count):
            metrics.message_received(verdict, 0, 0)
    values = scraped(metrics)
    counted = [
        values[f"edgeloop_uploads_total verdict={verdict.name.lower()}"] for verdict in Verdict
    ]
    assert counted == list(range(1, len(Verdict) + 1))


def test_names_and_units_follow_the_convention_and_each_metric_has_a_help() -> None:
    metrics = Metrics()
    metrics.run_started(CONTRACT, SETTINGS, None)
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        assert family.name.startswith(("edgeloop_", "process_"))
        assert family.documentation.endswith("."), family.name
        samples = {sample.name for sample in family.samples}
        is_counter = family.type == "counter"
        assert is_counter == any(name.endswith("_total") for name in samples), family.name


def test_two_aggregators_in_a_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.answers_missing(5)
    assert scraped(other)["edgeloop_stragglers_total"] == 0


def test_a_report_tells_of_an_invited_device_and_of_no_other() -> None:
    metrics = Metrics()
    reporter = EventReporter(CONTRACT.devices, metrics)
    for device, epsilon, ignored in (("one", 1.5, 2), ("stranger", 7.0, 3)):
        report = replace(Report(1, 4, 9, 0.5, 20.0, battery_ratio=0.5), epsilon=epsilon)
        metrics.fleet.presence(device, online=True)
        reporter.observe(DeviceMessage(device, Verdict.LATE, 9, report=report, ignored=ignored))
    reporter.observe(DeviceMessage("one", Verdict.MALFORMED, 9))
    values = scraped(metrics)
    assert metrics.fleet.epsilon == 1.5
    assert metrics.ignored_fields == values["edgeloop_ignored_fields_total"] == 2
    assert values["edgeloop_devices_reporting reading=battery_ratio"] == 1
    assert values["edgeloop_device_battery_ratio quantile=1"] == 0.5
