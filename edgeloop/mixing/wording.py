"""What a device puts into use, as a sentence: what was chosen, why, and what it is worth."""

from collections.abc import Mapping
from typing import Any


def in_use(summary: Mapping[str, Any]) -> str:
    """Say what a device's `summary.json` tells of the model in use; nothing without a mixture.

    Args:
        summary: with `mix`: `weight` and `why`, and where there were test samples, their number and
            the accuracies `mixed`, `alone` and `together`; and with `gate`, where there was a model
            of a run before to compare with: which it `keeps`, and `old_run`.
    """
    mix, gate = summary.get("mix") or {}, summary.get("gate") or {}
    if gate.get("keeps") == "old":
        return f"in use: still the model of run {gate['old_run']}, better on held-out samples"
    if not isinstance(mix.get("weight"), int | float):
        return ""
    weight = mix["weight"]
    chosen = f"in use: a mixture, {weight:.0%} together and {1 - weight:.0%} alone"
    if weight in (0, 1):
        chosen = f"in use: {'what was learned together' if weight else 'what was learned alone'}"
    why = f" ({mix['why']})" if mix.get("why") else ""
    return f"{chosen}{why}{_worth(mix)}"


def _worth(mix: Mapping[str, Any]) -> str:
    parts = [
        f"{mix[name]:.3f} {title}"
        for name, title in (("mixed", "in use"), ("alone", "alone"), ("together", "together"))
        if isinstance(mix.get(name), int | float)
    ]
    if not parts or not mix.get("test_samples"):
        return ""
    return f"; accuracy on {mix['test_samples']:,} test samples: {', '.join(parts)}"
