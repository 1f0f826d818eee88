"""Every alert of the chart fires when it should, and stays quiet when it should, by promtool."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import ROOT
from tests.monitoring.prometheus import ALERTS, promtool, rules

MINUTES = 40
"""That each case lasts; one sample a minute, at the end of which an alert fires or does not."""

JOB = 'job="fed/edgeloop-aggregators", instance="a"'
DAY = 86_400

Series = Mapping[str, str]
"""A series' name (with labels beside the target's), and its samples as promtool writes them."""


def steady(value: float) -> str:
    return f"{value:g}x{MINUTES}" if value >= 0 else f"{value:g}+0x{MINUTES}"


def growing(step: float) -> str:
    return f"0+{step:g}x{MINUTES}"


@dataclass(frozen=True)
class Case:
    """What makes an alert fire, and what differs where it stays quiet."""

    fires: Series
    quiet: Series


RUNNING: Series = {
    'edgeloop_task_info{task="t", run="r", algorithm="fedktl"}': steady(1),
    'edgeloop_task_phase{phase="running"}': steady(1),
    'edgeloop_task_phase{phase="finished"}': steady(0),
}
OVER: Series = {
    'edgeloop_task_phase{phase="running"}': steady(0),
    'edgeloop_task_phase{phase="finished"}': steady(1),
}


def buckets(name: str, labels: str, fast: bool) -> Series:
    """Return a histogram whose observations are all under a bound, or all over it."""
    bounds = {"0.5": 1.0 if fast else 0.0, "30": 1.0, "+Inf": 1.0}
    return {
        f'{name}_bucket{{{labels}le="{le}"}}': growing(60 * share) for le, share in bounds.items()
    }


OPEN: Series = {
    "edgeloop_round_opened_timestamp_seconds": steady(1),
    "edgeloop_round_deadline_seconds": steady(600),
    "edgeloop_round_give_up_seconds": steady(2400),
    "edgeloop_quorum": steady(2),
    "edgeloop_round_answers": steady(1),
}
EXPIRY = 'edgeloop_certificate_expiry_timestamp_seconds{certificate="own"}'
SPENT = 'edgeloop_device_epsilon{quantile="0.5"}'
BATTERY = 'edgeloop_device_battery_ratio{quantile="0.5"}'
HOTTEST = 'edgeloop_device_temperature_celsius{quantile="1"}'
GENERATOR, LEDGER = "edgeloop_generator_seconds", "edgeloop_ledger_write_seconds"
REFUSED = 'edgeloop_operator_looks_total{kind="Generator", result="refused"}'
DONE = 'edgeloop_operator_looks_total{kind="Generator", result="done"}'
LEFT = "edgeloop_operator_left_behind_total"
FAILED = 'edgeloop_operator_objects{kind="Generator", phase="Failed"}'
TRITON = '{model="digits-synthesis", version="1"}'

CASES = {
    "EdgeloopDown": Case({"up": steady(0)}, {"up": steady(1)}),
    "EdgeloopRestarts": Case(
        {"process_start_time_seconds": "0x9 600x9 1200x9 1800x9"},
        {"process_start_time_seconds": "0x9 600x9 600x19"},
    ),
    "EdgeloopBrokerLost": Case(
        {"edgeloop_broker_connected": steady(0)}, {"edgeloop_broker_connected": steady(0), **OVER}
    ),
    "EdgeloopBrokerUnstable": Case(
        {"edgeloop_broker_reconnects_total": growing(1)},
        {"edgeloop_broker_reconnects_total": growing(0.05)},
    ),
    "EdgeloopRoundWaits": Case(OPEN, {**OPEN, "edgeloop_round_answers": steady(2)}),
    "EdgeloopRoundNearlyGivenUp": Case(
        OPEN, {**OPEN, "edgeloop_round_give_up_seconds": steady(6000)}
    ),
    "EdgeloopNoRoundStored": Case(
        {**OPEN, "edgeloop_ledger_committed_timestamp_seconds": f"-4000+0x{MINUTES}"},
        {**OPEN, "edgeloop_ledger_committed_timestamp_seconds": steady(0)},
    ),
    "EdgeloopTooFewDevices": Case(
        {**OPEN, "edgeloop_devices_online": steady(1)},
        {**OPEN, "edgeloop_devices_online": steady(2)},
    ),
    "EdgeloopStragglers": Case(
        {
            "edgeloop_stragglers_total": growing(2),
            "edgeloop_rounds_closed_total": growing(1),
            "edgeloop_devices_invited": steady(6),
        },
        {
            "edgeloop_stragglers_total": growing(1),
            "edgeloop_rounds_closed_total": growing(1),
            "edgeloop_devices_invited": steady(6),
        },
    ),
    "EdgeloopUploadsRefused": Case(
        {'edgeloop_uploads_total{verdict="implausible"}': growing(1)},
        {
            'edgeloop_uploads_total{verdict="malformed"}': steady(7),
            'edgeloop_uploads_total{verdict="late"}': growing(1),
        },
    ),
    "EdgeloopAccuracyDropped": Case(
        {"edgeloop_accuracy_ratio": "0.9x5 0.7x34"}, {"edgeloop_accuracy_ratio": "0.9x5 0.85x34"}
    ),
    "EdgeloopPrivacyNearlySpent": Case(
        {SPENT: steady(7.3), "edgeloop_epsilon_budget": steady(8)},
        {SPENT: steady(7.1), "edgeloop_epsilon_budget": steady(8)},
    ),
    "EdgeloopGeneratorAway": Case(
        {"edgeloop_generator_ready": steady(0)}, {"edgeloop_generator_ready": "0x36 1x3"}
    ),
    "EdgeloopGeneratorSlow": Case(
        buckets(GENERATOR, 'operation="synthesize", ', fast=False),
        buckets(GENERATOR, 'operation="synthesize", ', fast=True),
    ),
    "EdgeloopLedgerSlow": Case(buckets(LEDGER, "", fast=False), buckets(LEDGER, "", fast=True)),
    "EdgeloopCertificateExpiresSoon": Case({EXPIRY: steady(13 * DAY)}, {EXPIRY: steady(15 * DAY)}),
    "EdgeloopCertificateExpires": Case({EXPIRY: steady(DAY)}, {EXPIRY: steady(13 * DAY)}),
    "EdgeloopBatteriesLow": Case({BATTERY: steady(0.1)}, {BATTERY: steady(0.3)}),
    "EdgeloopDevicesHot": Case({HOTTEST: steady(90)}, {HOTTEST: steady(80)}),
    "EdgeloopNoLeader": Case(
        {"edgeloop_operator_leader": steady(0)},
        {
            "edgeloop_operator_leader": steady(0),
            'edgeloop_operator_leader{pod="another"}': steady(1),
        },
    ),
    "EdgeloopResourceFailed": Case({FAILED: steady(1)}, {FAILED: steady(0)}),
    "EdgeloopOperatorRefused": Case(
        {REFUSED: growing(3), DONE: growing(2)}, {REFUSED: growing(1), DONE: growing(2)}
    ),
    "EdgeloopLeftBehind": Case({LEFT: growing(0.1)}, {LEFT: steady(2)}),
    "EdgeloopTritonFails": Case(
        {f"nv_inference_request_failure{TRITON}": growing(1)},
        {f"nv_inference_request_failure{TRITON}": steady(3)},
    ),
    "EdgeloopTritonQueues": Case(
        {
            f"nv_inference_queue_duration_us{TRITON}": growing(2e7),
            f"nv_inference_request_success{TRITON}": growing(10),
        },
        {
            f"nv_inference_queue_duration_us{TRITON}": growing(1e6),
            f"nv_inference_request_success{TRITON}": growing(10),
        },
    ),
}


def targeted(name: str) -> str:
    """Return a series as Prometheus stores it: with its target's labels."""
    metric, _, labels = name.partition("{")
    return f"{metric}{{{JOB}, {labels}" if labels else f"{metric}{{{JOB}}}"


def asked(alert: str, series: Series, count: int) -> dict[str, Any]:
    """Return promtool's test of how often an alert fires at the end."""
    samples = [{"labels": "{}", "value": count}] if count else []
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    values = {**RUNNING, **series}
    return {
        "interval": "1m",
        "input_series": [
            {"series": targeted(name), "values": each} for name, each in values.items()
        ],
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{MINUTES - 1}m", "exp_samples": samples}
        ],
    }


def verdict(folder: Path, *tests: dict[str, Any]) -> str:
    """Return what promtool says of tests that fail; nothing if all hold."""
    path = folder / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": list(tests)}))
    done = promtool("test", "rules", path)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", ALERTS)
    assert done.returncode == 0, done.stderr
    assert f"{len(CASES)} rules found" in done.stdout


def test_the_page_tells_of_every_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert re.findall(r"^\| `(Edgeloop\w+)` \|", page, re.MULTILINE) == list(rules())


def test_every_alert_has_a_case() -> None:
    assert list(CASES) == list(rules())


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_stays_quiet(tmp_path: Path, alert: str) -> None:
    case = CASES[alert]
    assert not verdict(tmp_path, asked(alert, case.fires, 1), asked(alert, case.quiet, 0))
    assert "FAILED" in verdict(tmp_path, asked(alert, case.quiet, 1)), "promtool is really asked"


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    rule = rules()[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "action"}
    assert rule["annotations"]["action"].strip().endswith((".", ")"))


def test_the_text_names_the_task(tmp_path: Path) -> None:
    rule = rules()["EdgeloopRoundWaits"]
    told = {
        **rule["annotations"],
        "description": rule["annotations"]["description"].replace(
            "{{ $value | humanizeDuration }}", "38m 59s"
        ),
        "summary": rule["annotations"]["summary"].replace("{{ $labels.task }}", "t"),
    }
    labels = {
        "severity": "warning",
        "task": "t",
        "job": "fed/edgeloop-aggregators",
        "instance": "a",
    }
    fires = asked("EdgeloopRoundWaits", OPEN, 1) | {
        "alert_rule_test": [
            {
                "eval_time": f"{MINUTES - 1}m",
                "alertname": "EdgeloopRoundWaits",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}],
            }
        ]
    }
    assert not verdict(tmp_path, fires)
