"""The tables of the report of simulated runs."""

from collections.abc import Callable, Sequence
from typing import Any

from edgeloop.statistics.verdict import span
from simulations.report.markup import (
    UNKNOWN,
    Html,
    join_children,
    missing,
    paragraph,
    scrolling,
    table,
    tag,
)
from simulations.results.groups import Group, differing_settings
from simulations.results.runs import FinishedRun
from simulations.results.seed_statistics import describe_values

LONGEST = 28
"""Characters of a setting that a table shows."""


def spread(values: Sequence[float], form: str = "{:.4f}") -> str:
    """Return the mean, and where there are several the standard deviation (of a sample)."""
    found = describe_values(values)
    mean = form.format(found["mean"])
    return mean if found["std"] is None else f"{mean} ± {form.format(found['std'])}"


def accuracies(groups: Sequence[Group]) -> Html:
    """List what each group reached."""
    columns = (
        *("settings", "runs", "best accuracy", "in round", "last accuracy"),
        *("its 95 % interval", "test samples", "last AUC"),
    )
    return join_children([table(columns, [_reached(group) for group in groups]), paragraph(_SURE)])


_SURE = (
    "The interval is how sure the test samples make the last accuracy (Wilson's); another seed or "
    "other clients may differ by more. The best accuracy is an optimistic choice."
)


def _reached(group: Group) -> list[str]:
    summaries = [run.summary for run in group.runs]
    aucs = [each.auc_by_round[-1] for each in summaries if each.auc_by_round]
    known = [auc for auc in aucs if auc is not None]
    tested = bool(group.test_samples)
    return [
        group.name,
        f"{len(summaries)}",
        spread([each.best_accuracy for each in summaries]) if tested else UNKNOWN,
        ", ".join(str(each.best_round) for each in summaries) if tested else UNKNOWN,
        spread([each.final_accuracy for each in summaries]) if tested else UNKNOWN,
        span(group.interval) or UNKNOWN,
        f"{group.test_samples:,}",
        spread(known) if len(known) == len(summaries) else UNKNOWN,
    ]


def clients(groups: Sequence[Group]) -> Html:
    """List every client's accuracies; where the first group is Local's, the gain over it."""
    first = groups[0].runs[0].summary
    values, tested = [group.by_client() for group in groups], groups[0].tested
    local = groups[0].settings["algorithm"] == "local"
    gains = values[1:] if local else []
    columns = ["client", *([f"gain of {group.name}" for group in groups[1:]] if local else [])]
    columns += [*(group.name for group in groups), "model", "train", "test"]
    rows = [
        [
            name,
            *(
                f"{each[name] - values[0][name]:+.3f}" if tested[name] else UNKNOWN
                for each in gains
            ),
            *(f"{each[name]:.3f}" if tested[name] else UNKNOWN for each in values),
            first.model_by_client.get(name, UNKNOWN),
            *(f"{first.samples_by_client[name][part]:,}" for part in ("train", "test")),
        ]
        for name in groups[0].clients
    ]
    return tag("details", tag("summary", "every client"), table(columns, rows))


def traffic(groups: Sequence[Group]) -> Html:
    """List bytes and floats."""
    columns = (
        *("settings", "bytes up in all", "bytes down in all", "bytes up, each"),
        *("bytes down, each", "floats up, each", "floats down, each"),
    )
    rows = [[group.name, *(_cell(group, each) for each in _TRAFFIC)] for group in groups]
    sentence = (
        "Each: the mean of a client and a round of training. Bytes are frames as MQTT would carry "
        "them, report included; floats are what papers count, numbers in prototypes or weights."
    )
    return join_children([paragraph(sentence), table(columns, rows)])


Measure = Callable[[FinishedRun], float]
_TRAFFIC: tuple[tuple[Measure, str], ...] = (
    (lambda run: run.bytes("up"), "{:,.0f}"),
    (lambda run: run.bytes("down"), "{:,.0f}"),
    (lambda run: run.summary.bytes_up_per_client, "{:,.0f}"),
    (lambda run: run.summary.bytes_down_per_client, "{:,.0f}"),
    (lambda run: run.summary.floats_up_per_client, "{:,.0f}"),
    (lambda run: run.summary.floats_down_per_client, "{:,.0f}"),
)
_SECONDS: tuple[tuple[Measure, str], ...] = (
    (lambda run: run.rounds, "{:g}"),
    (lambda run: run.summary.seconds.get("wall", 0.0), "{:.1f}"),
    (lambda run: run.summary.seconds_per_round, "{:.2f}"),
    (lambda run: run.summary.seconds.get("training", 0.0), "{:.1f}"),
    (lambda run: run.summary.seconds.get("evaluating", 0.0), "{:.1f}"),
    (lambda run: run.summary.seconds.get("aggregating", 0.0), "{:.1f}"),
    (lambda run: run.summary.peak_memory_bytes / 2**20, "{:,.0f}"),
)


def _cell(group: Group, measure: tuple[Measure, str]) -> str:
    values, form = [measure[0](run) for run in group.runs], measure[1]
    return form.format(values[0]) if len(set(values)) == 1 else spread(values, form)


def seconds(groups: Sequence[Group]) -> Html:
    """List what took how long."""
    columns = (
        *("settings", "rounds", "seconds in all", "a round"),
        *("training", "evaluating", "aggregating", "peak memory, MiB"),
    )
    rows = [[group.name, *(_cell(group, each) for each in _SECONDS)] for group in groups]
    sentence = "Training and evaluation are the clients', divided by the processes side by side."
    return join_children([paragraph(sentence), table(columns, rows)])


def settings(groups: Sequence[Group]) -> Html:
    """List the settings, those that differ first, and marked."""
    different = differing_settings([group.stated_settings for group in groups])
    same = {key: value for key, value in groups[0].settings.items() if key not in different}
    heads = ["setting", *(group.name for group in groups)]
    seeds = ["seeds", *(", ".join(str(run.seed) for run in group.runs) for group in groups)]
    rows = [seeds, *([key, *map(_text, values)] for key, values in different.items())]
    every = [[key, _text(value)] for key, value in same.items()]
    none = len(groups) > 1 and not different
    others = tag("div", table(("setting", "value"), every), class_="facts")
    return join_children(
        [
            _marked(heads, rows),
            *([missing("All settings are the same.")] if none else []),
            tag("details", tag("summary", f"{len(every)} settings that are the same"), others),
        ]
    )


def _marked(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table whose rows, but for the first, are marked as different."""
    head = tag("tr", *(tag("th", each, scope="col") for each in heads))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell) for cell in row[1:]),
            **({"class_": "differs"} if place else {}),
        )
        for place, row in enumerate(rows)
    ]
    return scrolling(tag("table", tag("thead", head), tag("tbody", *body)))


def _text(value: Any) -> str:
    text = UNKNOWN if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
