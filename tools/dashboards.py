"""Writes the Grafana dashboards of the chart: fleet, task, generator.

A panel is a title, a unit, and expressions with their legends. TASK in an expression gives its
series the task's name, and leaves only those of the tasks that are chosen.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "helm" / "edgeloop" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TASK = '* on (job, instance) group_left (task) edgeloop_task_info{task=~"$task"}'
WIDTH = 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: above it.
        unit: as Grafana names it.
        queries: legend to expression.
        kind: "timeseries", or "stat" for the last value alone.
        stacked: whether the series lie on one another.
        text: what a person should know, shown on demand.
    """

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    stacked: bool = False
    text: str = ""


def stat(title: str, unit: str, query: str, text: str = "") -> Panel:
    """Return a panel of one number."""
    return Panel(title, unit, {title: query}, "stat", text=text)


def of_task(metric: str) -> str:
    """Return a gauge by task."""
    return f"max by (task) ({metric} {TASK})"


def rate(metric: str, *labels: str) -> str:
    """Return a counter's growth a second, by task and labels."""
    return f"sum by ({', '.join(('task', *labels))}) (rate({metric}[$__rate_interval]) {TASK})"


def quantile(share: float, metric: str, *labels: str) -> str:
    """Return a quantile of a histogram, by task and labels."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le', *labels)})"


def mean(metric: str, *labels: str) -> str:
    """Return the mean of a histogram's observations, by task and labels."""
    return f"{rate(f'{metric}_sum', *labels)} / {rate(f'{metric}_count', *labels)}"


def spread(metric: str) -> dict[str, str]:
    """Return the lowest, the middle and the highest of the devices."""
    names = {"0": "lowest", "0.5": "middle", "1": "highest"}
    return {
        f"{{{{task}}}} {word}": of_task(f'{metric}{{quantile="{share}"}}')
        for share, word in names.items()
    }


FLEET = [
    stat("Tasks running", "none", f'sum(edgeloop_task_phase{{phase="running"}} {TASK})'),
    stat("Devices invited", "none", f"sum(edgeloop_devices_invited {TASK})"),
    stat("Devices online", "none", f"sum(edgeloop_devices_online {TASK})"),
    stat("Brokers connected", "percentunit", f"avg(edgeloop_broker_connected {TASK})"),
    stat("Alerts firing", "none", 'count(ALERTS{alertname=~"Edgeloop.+", alertstate="firing"}) or vector(0)'),
    stat(
        "First certificate expires in", "s",
        f"min((edgeloop_certificate_expiry_timestamp_seconds - time()) {TASK}) or vector(NaN)",
        "Empty where brokers are reached without TLS.",
    ),
    Panel("Devices online", "none", {"{{task}}": of_task("edgeloop_devices_online")}),
    Panel("What devices are doing", "none", {"{{state}}": f"sum by (state) (edgeloop_devices {TASK})"}, stacked=True),
    Panel("Answers of the last round", "none", {"{{task}}": of_task("edgeloop_participants")}),
    Panel("Answers missing", "none", {
        "{{task}}": f"sum by (task) (increase(edgeloop_stragglers_total[$__rate_interval]) {TASK})"
    }, text="At the closing of rounds."),
    Panel("Uploads by verdict", "ops", {"{{verdict}}": f"sum by (verdict) (rate(edgeloop_uploads_total[$__rate_interval]) {TASK})"}, stacked=True),
    Panel("Bytes from devices", "Bps", {"{{task}}": rate("edgeloop_upload_bytes_total")}),
    Panel("Bytes of broadcasts", "Bps", {"{{task}}": rate("edgeloop_broadcast_bytes_total")}, text="To the broker, once for all devices."),
    Panel("A device's training", "s", {
        "{{task}} half": quantile(0.5, "edgeloop_device_training_seconds"),
        "{{task}} 95 %": quantile(0.95, "edgeloop_device_training_seconds"),
    }),
    Panel("Battery", "percentunit", spread("edgeloop_device_battery_ratio"), text="Of devices online that have one."),
    Panel("Processor", "percentunit", spread("edgeloop_device_cpu_ratio")),
    Panel("Temperature", "celsius", spread("edgeloop_device_temperature_celsius"), text="The hottest sensor of each device online."),
    Panel("Devices with a reading", "none", {"{{reading}}": f"sum by (reading) (edgeloop_devices_reporting {TASK})"}),
    Panel("Reconnections to the broker", "none", {"{{task}}": f"sum by (task) (increase(edgeloop_broker_reconnects_total[$__rate_interval]) {TASK})"}),
    Panel("Refusals of the broker", "none", {"{{operation}}, {{reason}}": f"sum by (operation, reason) (increase(edgeloop_broker_refusals_total[$__rate_interval]) {TASK})"}, text="Messages that it did not take, and topics that it does not send: see its access lists."),
    Panel("Fields of newer versions", "none", {"{{task}}": f"sum by (task) (increase(edgeloop_ignored_fields_total[$__rate_interval]) {TASK})"}, text="In devices' answers, ignored."),
    Panel("Resources by phase", "none", {"{{kind}} {{phase}}": "sum by (kind, phase) (edgeloop_operator_objects)"}, stacked=True, text="As the operator sees them."),
    Panel("The operator's looks", "ops", {"{{kind}} {{result}}": "sum by (kind, result) (rate(edgeloop_operator_looks_total[$__rate_interval]))"}),
    Panel("Operators that lead", "none", {"{{job}}": "sum by (job) (edgeloop_operator_leader)"}),
    Panel("Left behind", "none", {"{{job}}": "sum by (job) (edgeloop_operator_left_behind_total)"}, text="Deleted tasks whose messages or rows could not be taken back."),
]  # fmt: skip

ONE_TASK = [
    stat("Rounds closed", "percentunit", f"{of_task('edgeloop_round')} / {of_task('edgeloop_rounds_planned')}"),
    stat("Open round", "none", of_task("edgeloop_round"), "Counted from 0."),
    stat("It is open for", "s", f'max by (task) ((time() - edgeloop_round_opened_timestamp_seconds) {TASK})'),
    stat("Answers so far", "none", of_task("edgeloop_round_answers")),
    stat("Quorum", "none", of_task("edgeloop_quorum")),
    stat("Accuracy", "percentunit", of_task("edgeloop_accuracy_ratio"), "Over all test samples, before a round's training."),
    Panel("Accuracy of all test samples", "percentunit", {"{{task}}": of_task("edgeloop_accuracy_ratio")}),
    Panel("Accuracy by device", "percentunit", spread("edgeloop_device_accuracy_ratio")),
    Panel("The algorithm's own numbers", "none", {"{{measure}}": f"max by (task, measure) (edgeloop_algorithm_measure {TASK})"}, text="docs/metrics.md says which algorithm has which."),
    Panel("Privacy spent", "none", {**spread("edgeloop_device_epsilon"), "{{task}} budget": of_task("edgeloop_epsilon_budget")}, text="Epsilon of the devices, as they say. Empty in a task without privacy."),
    Panel("Seconds a round", "s", {
        "mean": mean("edgeloop_round_seconds"), "95 %": quantile(0.95, "edgeloop_round_seconds")
    }),
    Panel("What a round's time goes to", "s", {"{{step}}": mean("edgeloop_round_step_seconds", "step")}, stacked=True),
    Panel("From a round's opening to an answer", "s", {
        "half": quantile(0.5, "edgeloop_upload_delay_seconds"),
        "95 %": quantile(0.95, "edgeloop_upload_delay_seconds"),
    }),
    Panel("Devices", "none", {
        "invited": of_task("edgeloop_devices_invited"),
        "online": of_task("edgeloop_devices_online"),
        "answered the last round": of_task("edgeloop_participants"),
        "quorum": of_task("edgeloop_quorum"),
    }),
    Panel("What devices are doing", "none", {"{{state}}": f"sum by (state) (edgeloop_devices {TASK})"}, stacked=True),
    Panel("Uploads by verdict", "ops", {"{{verdict}}": rate("edgeloop_uploads_total", "verdict")}, stacked=True),
    Panel("Answers missing", "none", {"missing": f"sum by (task) (increase(edgeloop_stragglers_total[$__rate_interval]) {TASK})"}),
    Panel("Bytes", "Bps", {
        "from devices": rate("edgeloop_upload_bytes_total"),
        "of broadcasts": rate("edgeloop_broadcast_bytes_total"),
    }),
    Panel("A device's work", "s", {
        "training, half": quantile(0.5, "edgeloop_device_training_seconds"),
        "training, 95 %": quantile(0.95, "edgeloop_device_training_seconds"),
        "evaluation, 95 %": quantile(0.95, "edgeloop_device_evaluation_seconds"),
    }),
    Panel("A write to the ledger", "s", {
        "half": quantile(0.5, "edgeloop_ledger_write_seconds"),
        "95 %": quantile(0.95, "edgeloop_ledger_write_seconds"),
    }),
    Panel("Since the last stored round", "s", {"{{task}}": f"max by (task) ((time() - edgeloop_ledger_committed_timestamp_seconds) {TASK})"}),
    Panel("Connected, and generator ready", "none", {
        "broker": of_task("edgeloop_broker_connected"), "generator": of_task("edgeloop_generator_ready")
    }),
    Panel("The aggregator's memory", "bytes", {"{{task}}": of_task("process_resident_memory_bytes")}),
    Panel("The aggregator's processors", "percentunit", {"{{task}}": rate("process_cpu_seconds_total")}),
]  # fmt: skip

OF_MODEL = '{model=~".+-(mapping|synthesis)"}'


def triton(metric: str) -> str:
    """Return a counter of Triton's, a second, by model."""
    return f"sum by (model) (rate(nv_inference_{metric}{OF_MODEL}[$__rate_interval]))"


GENERATOR = [
    stat("Tasks that wait for it", "none", f"sum((1 - edgeloop_generator_ready) {TASK})"),
    stat("Requests of tasks a second", "reqps", f"sum(rate(edgeloop_generator_seconds_count[$__rate_interval]) {TASK})"),
    stat("Models on Triton", "none", f"count(count by (model) (nv_inference_request_success{OF_MODEL}))"),
    Panel("A task's request", "s", {
        "{{task}} {{operation}} half": quantile(0.5, "edgeloop_generator_seconds", "operation"),
        "{{task}} {{operation}} 95 %": quantile(0.95, "edgeloop_generator_seconds", "operation"),
    }, text="With all waiting, as the aggregator sees it."),
    Panel("Requests of tasks", "reqps", {"{{task}} {{operation}}": rate("edgeloop_generator_seconds_count", "operation")}),
    Panel("Requests without an answer", "reqps", {"{{task}}": rate("edgeloop_generator_failures_total")}),
    Panel("Triton: requests", "reqps", {"{{model}}": triton("request_success")}),
    Panel("Triton: failures", "reqps", {"{{model}}": triton("request_failure")}),
    Panel("Triton: in the queue", "µs", {"{{model}}": f"{triton('queue_duration_us')} / {triton('request_success')}"}),
    Panel("Triton: computing", "µs", {"{{model}}": f"{triton('compute_infer_duration_us')} / {triton('request_success')}"}),
    Panel("Triton: samples a run", "none", {"{{model}}": f"{triton('count')} / {triton('exec_count')}"}, text="How far requests at once share a run."),
    Panel("Triton: GPU in use", "percentunit", {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_utilization)"}, text="Empty without a GPU."),
    Panel("Triton: GPU memory", "bytes", {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_memory_used_bytes)"}, text="Empty without a GPU."),
]  # fmt: skip


def panel(number: int, made: Panel, x: int, y: int, width: int, height: int) -> Json:
    """Return a panel as Grafana reads it."""
    stacking = {"mode": "normal" if made.stacked else "none"}
    custom = {"fillOpacity": 20 if made.stacked else 0, "stacking": stacking}
    defaults: Json = {"unit": made.unit}
    options: Json = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if made.kind == "timeseries":
        defaults |= {"custom": custom}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}}
    targets = [
        {"refId": chr(65 + i), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for i, (legend, query) in enumerate(made.queries.items())
    ]
    return {
        "id": number,
        "type": made.kind,
        "title": made.title,
        "description": made.text,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def laid(panels: list[Panel]) -> list[Json]:
    """Return panels in their places: six numbers a row, then three graphs a row."""
    found: list[Json] = []
    x = y = row = 0
    for number, each in enumerate(panels, start=1):
        width, height = (4, 4) if each.kind == "stat" else (8, 8)
        if x + width > WIDTH or (row and height != row):
            x, y = 0, y + row
        row = height
        found.append(panel(number, each, x, y, width, height))
        x += width
    return found


def variables(many: bool) -> list[Json]:
    """Return the dashboard's choices: where Prometheus is, and which tasks are meant."""
    query = "label_values(edgeloop_task_info, task)"
    task: Json = {"name": "task", "type": "query", "datasource": SOURCE, "query": query}
    task |= {"refresh": 2, "multi": many, "includeAll": many}
    if many:
        task |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return [{"name": "datasource", "type": "datasource", "query": "prometheus"}, task]


def dashboard(name: str, title: str, panels: list[Panel], many: bool) -> Json:
    """Return a dashboard as Grafana imports it."""
    return {
        "uid": f"edgeloop-{name}",
        "title": f"edgeloop / {title}",
        "tags": ["edgeloop"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables(many)},
        "links": [{"type": "dashboards", "title": "edgeloop", "tags": ["edgeloop"], "asDropdown": True}],
        "panels": laid(panels),
    }  # fmt: skip


def dashboards() -> dict[str, str]:
    """Return the files by name."""
    made = {
        "fleet": dashboard("fleet", "fleet", FLEET, many=True),
        "task": dashboard("task", "task", ONE_TASK, many=False),
        "generator": dashboard("generator", "generator", GENERATOR, many=True),
    }
    return {f"{name}.json": json.dumps(each, indent=1) + "\n" for name, each in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
