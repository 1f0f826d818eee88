"""Writes a scenario's results: the table as a page and as data, and the curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop.cli import console
from edgeloop.runtime import atomic_files
from simulations.engine.batch import Job
from simulations.reproduce import counting
from simulations.reproduce import table as tables
from simulations.reproduce.picture import curves
from simulations.reproduce.scenario import Cell, Plan, Scale, Trial
from simulations.reproduce.table import Runs
from simulations.results.folder import BESIDE


def write(plan: Plan, scale: Scale, runs: Runs, jobs: Mapping[Trial, Job], folder: Path) -> None:
    """Write table.md, table.json and accuracy.png, and show the table.

    Args:
        plan: whose table.
        scale: of the runs.
        runs: each cell's summaries.
        jobs: that they come from.
        folder: of the scenario's results.
    """
    found = tables.table(plan, runs)
    headings = plan.scenario.headings(plan.columns)
    content: dict[str, Any] = {
        "scenario": plan.scenario.title,
        "scale": scale,
        "seeds": plan.seeds,
        "cells": {row: {h: e._asdict() for h, e in each.items()} for row, each in found.items()},
        "orders": tables.orders(found, headings),
        "partitions": {column.name: _fingerprints(runs, column.name) for column in plan.columns},
    }
    if plan.scenario.counted:
        content["counted"] = counting.count_numbers([job.settings for job in jobs.values()])
    if comparisons := companion_sentences(runs):
        content[BESIDE] = comparisons
    text = tables.markdown(plan, scale, found) + counting.markdown(content.get("counted"))
    text += _besides(comparisons)
    atomic_files.write(folder / "table.md", text.encode())
    atomic_files.write_json(folder / "table.json", content)
    panels = {column.name: _curves(plan, runs, column.name) for column in plan.columns}
    atomic_files.write(folder / "accuracy.png", curves(panels))
    rows = [
        [n, *(tables.format_entry(r.get(h), bold=False) for h in headings)]
        for n, r in found.items()
    ]
    console.table(plan.scenario.title, ["", *headings], rows)
    console.say(f"results: {folder / 'table.md'}")


def companion_sentences(runs: Runs) -> dict[str, list[str]]:
    """Return the sentences on what ran beside the trials, by cell; none without any."""
    every = {
        ", ".join(part for part in cell if part): [
            each["sentence"] for summary in runs[cell] for each in summary.get(BESIDE, {}).values()
        ]
        for cell in runs
    }
    return {cell: sentences for cell, sentences in every.items() if sentences}


def _besides(comparisons: Mapping[str, Sequence[str]]) -> str:
    if not comparisons:
        return ""
    lines = [f"- {cell}: {each}" for cell, sentences in comparisons.items() for each in sentences]
    return "\n".join(["\n## Beside the runs, trial by trial\n", *lines, ""])


def _fingerprints(runs: Runs, column: str) -> list[str]:
    """Return the hashes of the partitions that a column's runs had; one, if all is well."""
    found = (
        s["config"]["partition_fingerprint"] for c in runs if c.column == column for s in runs[c]
    )
    return sorted(set(found))


def _curves(plan: Plan, runs: Runs, column: str) -> dict[str, list[list[float]]]:
    cells = {row.name: Cell(row.name, column) for row in plan.rows}
    return {
        name: [summary["accuracy_by_round"] for summary in runs[cell]]
        for name, cell in cells.items()
        if cell in runs
    }
