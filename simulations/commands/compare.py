"""Compares two simulated runs, or two folders of runs with several seeds each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.statistics.verdict import apart, span
from simulations.results import comparison_tables, pairing
from simulations.results.groups import Group, differing_settings, group_runs
from simulations.results.runs import FinishedRun, find
from simulations.results.seed_statistics import describe_values

HIGHLIGHT = (
    "THE PARTITIONS DIFFER: a client of A holds other samples than its namesake of B. "
    "Accuracies are of different test samples, and clients are not compared one by one."
)
SHOWN = 40
"""Clients on the screen; --json has all."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop compare` with these arguments."""
    return console.run(command, "compare", arguments)


def command(
    a: Annotated[Path, typer.Argument(help="A finished run's folder, or one that holds some.")],
    b: Annotated[Path, typer.Argument(help="Another such folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    as_table: Annotated[
        Literal["csv", "latex"] | None,
        typer.Option("--table", help="Print one table instead: csv, or latex (booktabs)."),
    ] = None,
) -> None:
    """Compare two finished runs, or two settings with several seeds each."""
    found = compare(_one(a, "A"), _one(b, "B"))
    if as_table is not None:
        made = comparison_tables.as_csv if as_table == "csv" else comparison_tables.as_latex
        console.say(made(found).rstrip("\n"))
    elif as_json:
        console.say(json.dumps(found, indent=1))
    else:
        _show(found)


def _one(place: Path, side: str) -> Group:
    """Return the only group in a place.

    Raises:
        ConfigError: if its runs differ in more than the seed.
    """
    groups = group_runs(find([place]))
    if len(groups) > 1:
        keys = ", ".join(differing_settings([group.settings for group in groups]))
        problem = f"{place} holds runs that differ in more than the seed: {keys}"
        raise ConfigError(side, problem, "give a folder whose runs have the same settings")
    return groups[0]


def compare(a: Group, b: Group) -> dict[str, Any]:
    """Return how two groups of runs differ; JSON values only.

    Returns:
        `sentence`, which is better, if that can be said; `settings`, those that differ, [A's,
        B's]; `same_partition`; `a` and `b`, each with `describe_values` numbers; `seeds`, the
        differences B - A of the seeds that both have; `clients`, the differences B - A client by
        client, and `paired`, how sure they are, both None where the partitions differ.
        docs/results.md says more.
    """
    target = describe_values([run.summary.best_accuracy for run in a.runs])["mean"]
    same = a.fingerprint == b.fingerprint
    compared = pairing.compare_runs(b.runs, a.runs, ("B", "A")) if same else None
    return {
        "sentence": compared.sentence if compared else _unpaired(a, b),
        "settings": differing_settings([a.settings, b.settings]),
        "same_partition": same,
        "target_accuracy": target,
        "a": _side(a, target),
        "b": _side(b, target),
        "seeds": _by_seed(a, b),
        "clients": _by_client(a, b) if same else None,
        "paired": pairing.as_json(compared) if compared else None,
    }


def _unpaired(a: Group, b: Group) -> str:
    """Say which of two groups of other partitions is better, if that can be said."""
    right = tuple(each.final_accuracy * each.test_samples for each in (b, a))
    return apart(("B", "A"), (right[0], right[1]), (b.test_samples, a.test_samples))


def _side(group: Group, target: float) -> dict[str, Any]:
    summaries = [run.summary for run in group.runs]
    reached = [_reached(run, target) for run in group.runs]
    known = [number for number in reached if number is not None]
    return {
        "name": group.name,
        "folders": [str(run.folder) for run in group.runs],
        "test_samples": group.test_samples,
        "final_accuracy_ci95": group.interval,
        "seeds": [run.seed for run in group.runs],
        "best_accuracy": describe_values([each.best_accuracy for each in summaries]),
        "final_accuracy": describe_values([each.final_accuracy for each in summaries]),
        "rounds": describe_values([run.rounds for run in group.runs]),
        "rounds_to_target": {"reached": len(known), **_maybe(known), "by_run": reached},
        "bytes_up": describe_values([run.bytes("up") for run in group.runs]),
        "bytes_down": describe_values([run.bytes("down") for run in group.runs]),
        "seconds": describe_values([each.seconds.get("wall", 0.0) for each in summaries]),
        "seconds_per_round": describe_values([each.seconds_per_round for each in summaries]),
    }


def _maybe(known: Sequence[int]) -> dict[str, Any]:
    return (
        describe_values(known) if known else {"mean": None, "std": None, "ci95": None, "runs": []}
    )


def _reached(run: FinishedRun, target: float) -> int | None:
    """Return the rounds of training until the accuracy is the target's or more."""
    accuracies_R = run.summary.accuracy_by_round
    return next((n for n, accuracy in enumerate(accuracies_R) if accuracy >= target), None)


def _by_seed(a: Group, b: Group) -> dict[str, Any] | None:
    """Return the differences of best and last accuracies of the seeds that both sides have."""
    pairs = [(one, other) for one in a.runs for other in b.runs if one.seed == other.seed]
    if not pairs:
        return None
    keys = ("best_accuracy", "final_accuracy")
    return {
        "seeds": [one.seed for one, _ in pairs],
        **{
            key: describe_values(
                [getattr(y.summary, key) - getattr(x.summary, key) for x, y in pairs]
            )
            for key in keys
        },
    }


def _by_client(a: Group, b: Group) -> dict[str, Any]:
    """Return each client's last accuracies, means of the runs, and what the differences say."""
    left, right = a.by_client(), b.by_client()
    rows = {name: {"a": left[name], "b": right[name]} for name in left}
    differences = {name: each["b"] - each["a"] for name, each in rows.items()}
    tested = [name for name, count in a.tested.items() if count]
    whole = describe_values([differences[name] for name in tested] or [0.0])
    return {
        "by_client": {
            name: {**each, "difference": differences[name]} for name, each in rows.items()
        },
        "difference": {key: whole[key] for key in ("mean", "std", "ci95")},
        "better": sum(each > 0 for each in differences.values()),
        "worse": sum(each < 0 for each in differences.values()),
    }


def _show(found: Mapping[str, Any]) -> None:
    a, b = found["a"], found["b"]
    if not found["same_partition"]:
        console.note(HIGHLIGHT)
    settings = [(key, *map(_short, values)) for key, values in found["settings"].items()]
    console.table("settings that differ", ("setting", "A", "B"), settings or [("none", "", "")])
    console.table(
        f"A: {a['name']}, B: {b['name']}", ("measure", "A", "B", "B - A"), _measures(found)
    )
    if found["clients"] is not None:
        _show_clients(found["clients"])
    console.say(found["sentence"])


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _measures(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    a, b, seeds = found["a"], found["b"], found["seeds"] or {}
    rows = [
        (
            f"{name} accuracy",
            *(format_spread(side[f"{name}_accuracy"]) for side in (a, b)),
            format_spread(seeds.get(f"{name}_accuracy"), signed=True),
        )
        for name in ("best", "final")
    ]
    sides = (a, b)
    rows.append(("its 95 % interval", *(span(side["final_accuracy_ci95"]) for side in sides), ""))
    rows.append(("test samples", *(f"{side['test_samples']:,}" for side in sides), ""))
    target = f"rounds to {found['target_accuracy']:.4f}, A's best"
    rows.append((target, *(_rounds(side) for side in (a, b)), ""))
    for key, text, form in _PLAIN:
        rows.append((text, *(form.format(side[key]["mean"]) for side in (a, b)), _ratio(a, b, key)))
    return rows


_PLAIN = (
    ("rounds", "rounds of training", "{:g}"),
    ("bytes_up", "bytes up, all clients", "{:,.0f}"),
    ("bytes_down", "bytes down, all clients", "{:,.0f}"),
    ("seconds", "seconds", "{:,.1f}"),
    ("seconds_per_round", "seconds a round", "{:.2f}"),
)


def _ratio(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> str:
    return f"x {b[key]['mean'] / a[key]['mean']:.2f}" if a[key]["mean"] else ""


def _rounds(side: Mapping[str, Any]) -> str:
    found, runs = side["rounds_to_target"], len(side["seeds"])
    if not found["reached"]:
        return "not reached"
    some = "" if found["reached"] == runs else f" ({found['reached']} of {runs} runs)"
    return f"{found['mean']:.1f}{some}"


def format_spread(found: Mapping[str, Any] | None, signed: bool = False) -> str:
    """Return the mean of `describe_values`, and the 95 % interval of a difference or the std."""
    if found is None:
        return "no seed in common"
    mean = f"{found['mean']:+.4f}" if signed else f"{found['mean']:.4f}"
    width = found["ci95" if signed else "std"]
    if width is None:
        return f"{mean} (one run)"
    return f"{mean} ± {width:.4f}" + (" (95 %)" if signed else "")


def _show_clients(clients: Mapping[str, Any]) -> None:
    ranked = sorted(clients["by_client"].items(), key=lambda pair: pair[1]["difference"])
    half = SHOWN // 2
    shown = ranked if len(ranked) <= SHOWN else [*ranked[:half], *ranked[-half:]]
    rows = [
        (name, f"{each['a']:.4f}", f"{each['b']:.4f}", f"{each['difference']:+.4f}")
        for name, each in shown
    ]
    note = "" if len(shown) == len(ranked) else f", {SHOWN} of {len(ranked)}: the most extreme"
    console.table(f"last accuracy of the clients{note}", ("client", "A", "B", "B - A"), rows)
