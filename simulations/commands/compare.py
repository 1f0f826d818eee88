"""Compares two simulated runs, or two folders of runs with several seeds each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from edgeloop.cli import console, options
from edgeloop.runtime.config import Option, Settings
from edgeloop.statistics.verdict import span
from simulations.results import comparison_tables
from simulations.results.comparison import compare, only_group
from simulations.results.runs import find

HIGHLIGHT = (
    "THE PARTITIONS DIFFER: a client of A holds other samples than its namesake of B. "
    "Accuracies are of different test samples, and clients are not compared one by one."
)
SHOWN = 40
"""Clients on the screen; --json has all."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop compare` with these arguments."""
    return console.run(command, "compare", arguments)


class CompareSettings(Settings):
    """What is compared, and how it is shown."""

    a: Annotated[Path, Option(positional=True, name="RUN_A")]
    """Folder of a finished run, or of several."""
    b: Annotated[Path, Option(positional=True, name="RUN_B")]
    """Folder to compare it with."""
    as_json: Annotated[bool, Option(name="--json")] = False
    """Print JSON instead of tables."""
    as_table: Annotated[Literal["csv", "latex"] | None, Option(name="--table")] = None
    """Print one table instead: csv, or latex (booktabs)."""


@options.of(CompareSettings, "compare")
def command(settings: CompareSettings) -> None:
    """Compare two finished runs, or two settings with several seeds each."""
    sides = ((settings.a, "A"), (settings.b, "B"))
    found = compare(*(only_group(find([path]), side, str(path)) for path, side in sides))
    if settings.as_table is not None:
        latex = settings.as_table == "latex"
        made = comparison_tables.as_latex if latex else comparison_tables.as_csv
        console.say(made(found).rstrip("\n"))
    elif settings.as_json:
        console.say(json.dumps(found, indent=1))
    else:
        _show(found)


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
            *(
                format_spread(side[f"{name}_accuracy"]) if side["test_samples"] else "-"
                for side in (a, b)
            ),
            format_spread(seeds.get(f"{name}_accuracy"), signed=True)
            if a["test_samples"] and b["test_samples"]
            else "",
        )
        for name in ("best", "final")
    ]
    sides = (a, b)
    rows.append(("its 95 % interval", *(span(side["final_accuracy_ci95"]) for side in sides), ""))
    rows.append(("test samples", *(f"{side['test_samples']:,}" for side in sides), ""))
    target = f"rounds to {found['target_accuracy']:.4f}, A's best"
    if all(side["test_samples"] for side in sides):
        rows.append((target, *(_rounds(side) for side in sides), ""))
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
