import math
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from cloud.aggregator.ledger import RoundCounts
from cloud.aggregator.metrics import Metrics
from edgeloop.gathering import Verdict
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
    }


def changed(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return the samples that differ; of a histogram, without its buckets."""
    return {
        name: value
        for name, value in after.items()
        if "_bucket" not in name and value != before.get(name) and not math.isnan(value)
    }


def test_before_anything_happened_all_is_zero_and_the_accuracy_unknown() -> None:
    values = scraped(Metrics())
    assert math.isnan(values.pop("edgeloop_accuracy_ratio"))
    assert values.pop("edgeloop_generator_ready") == 1.0  # nothing waits for it
    assert set(values.values()) == {0.0}
    assert {name for name in values if "bucket" not in name} == {
        "edgeloop_round",
        "edgeloop_rounds_planned",
        "edgeloop_participants",
        "edgeloop_round_seconds_count",
        "edgeloop_round_seconds_sum",
        "edgeloop_aggregate_seconds_count",
        "edgeloop_aggregate_seconds_sum",
        "edgeloop_broker_connected",
        "edgeloop_devices_online",
        "edgeloop_upload_bytes_total",
        "edgeloop_broadcast_bytes_total",
        "edgeloop_uploads_total verdict=accepted",
        "edgeloop_uploads_total verdict=duplicate",
        "edgeloop_uploads_total verdict=conflict",
        "edgeloop_uploads_total verdict=wrong_round",
        "edgeloop_uploads_total verdict=uninvited",
        "edgeloop_uploads_total verdict=malformed",
    }


def test_each_event_changes_just_its_own_metrics() -> None:
    metrics = Metrics()
    events: list[tuple[Callable[[], None], dict[str, float]]] = [
        (
            lambda: metrics.began(CONTRACT),
            {
                "edgeloop_task_info algorithm=fedtgp run=first task=cats": 1,
                "edgeloop_rounds_planned": 3,
            },
        ),
        (lambda: metrics.connected(True), {"edgeloop_broker_connected": 1}),
        (lambda: metrics.online(2), {"edgeloop_devices_online": 2}),
        (
            lambda: metrics.opened(1, 500),
            {
                "edgeloop_round": 1,
                "edgeloop_broadcast_bytes_total": 500,
            },
        ),
        (
            lambda: metrics.heard(Verdict.ACCEPTED, 30),
            {
                "edgeloop_uploads_total verdict=accepted": 1,
                "edgeloop_upload_bytes_total": 30,
            },
        ),
        (
            lambda: metrics.heard(Verdict.WRONG_ROUND, 12),
            {
                "edgeloop_uploads_total verdict=wrong_round": 1,
                "edgeloop_upload_bytes_total": 42,
            },
        ),
        (
            lambda: metrics.aggregated(0.25),
            {
                "edgeloop_aggregate_seconds_count": 1,
                "edgeloop_aggregate_seconds_sum": 0.25,
            },
        ),
        (
            lambda: metrics.closed(1, RoundCounts(2, 3, 4), 7.5),
            {
                "edgeloop_round": 2,
                "edgeloop_round_seconds_count": 1,
                "edgeloop_round_seconds_sum": 7.5,
                "edgeloop_participants": 2,
                "edgeloop_accuracy_ratio": 0.75,
            },
        ),
        (lambda: metrics.opened(2, 500), {"edgeloop_broadcast_bytes_total": 1000}),
        (
            lambda: metrics.evaluated(RoundCounts(1, 1, 2)),
            {
                "edgeloop_participants": 1,
                "edgeloop_accuracy_ratio": 0.5,
            },
        ),
        (lambda: metrics.online(0), {"edgeloop_devices_online": 0}),
        (lambda: metrics.connected(False), {"edgeloop_broker_connected": 0}),
    ]
    for happen, expected in events:
        before = scraped(metrics)
        happen()
        assert changed(before, scraped(metrics)) == expected


def test_durations_fall_into_their_buckets() -> None:
    metrics = Metrics()
    metrics.closed(0, RoundCounts(0, 0, 0), 45.0)
    metrics.aggregated(0.02)
    values = scraped(metrics)
    assert values["edgeloop_round_seconds_bucket le=30.0"] == 0
    assert values["edgeloop_round_seconds_bucket le=60.0"] == 1
    assert values["edgeloop_aggregate_seconds_bucket le=0.01"] == 0
    assert values["edgeloop_aggregate_seconds_bucket le=0.05"] == 1


def test_a_round_without_test_samples_has_no_accuracy() -> None:
    metrics = Metrics()
    metrics.closed(0, RoundCounts(2, 3, 4), 1.0)
    metrics.closed(1, RoundCounts(1, 0, 0), 1.0)
    assert math.isnan(scraped(metrics)["edgeloop_accuracy_ratio"])


def test_every_verdict_has_a_series() -> None:
    metrics = Metrics()
    for count, verdict in enumerate(Verdict, start=1):
        for _ in range(count):
            metrics.heard(verdict, 0)
    values = scraped(metrics)
    counted = [
        values[f"edgeloop_uploads_total verdict={verdict.name.lower()}"] for verdict in Verdict
    ]
    assert counted == list(range(1, len(Verdict) + 1))


def test_names_and_units_follow_the_convention_and_each_metric_has_a_help() -> None:
    metrics = Metrics()
    metrics.began(CONTRACT)
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        assert family.name.startswith("edgeloop_")
        assert family.documentation.endswith("."), family.name
        samples = {sample.name for sample in family.samples}
        is_counter = family.type == "counter"
        assert is_counter == any(name.endswith("_total") for name in samples), family.name


def test_two_aggregators_in_a_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.online(5)
    assert scraped(other)["edgeloop_devices_online"] == 0
