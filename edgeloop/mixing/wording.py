"""What a device puts into use, as a sentence: what was chosen, why, and what it is worth."""

import math
from collections.abc import Mapping
from typing import Any


def in_use(summary: Mapping[str, Any]) -> str:
    """Say what a device's `summary.json` tells of the model in use.

    Nothing without a mixture, or if no model was written.

    Args:
        summary: with `mix`: `weight` and `why`, and where there were test samples, their number and
            the accuracies `mixed`, `alone` and `together`; and with `gate`, where there was a model
            of a run before to compare with: which it `keeps`, and `old_run`.
    """
    mix, gate = summary.get("mix") or {}, summary.get("gate") or {}
    if gate.get("keeps") == "old":
        which = f"of run {gate['old_run']}" if gate.get("old_run") else "that was there"
        return f"in use: still the model {which}, better on held-out samples"
    weight = mix.get("weight")
    if not isinstance(weight, int | float) or not math.isfinite(weight):
        return ""
    if _is_unwritten(summary):
        return ""
    digits = 1 if round(weight, 2) in (0, 1) else 0
    chosen = f"in use: a mixture, {weight:.{digits}%} together and {1 - weight:.{digits}%} alone"
    if weight in (0, 1):
        chosen = f"in use: {'what was learned together' if weight else 'what was learned alone'}"
    why = f" ({mix['why']})" if mix.get("why") else ""
    return f"{chosen}{why}{_worth(mix)}"


def accuracy_in_use(summary: Mapping[str, Any]) -> float | None:
    """Return the accuracy on test samples of the mixture that a device has put into use.

    None without a mixture or test samples, if no model was written, and if the model before was
    kept: what the summary tells is the new one's.

    Args:
        summary: as `in_use` takes it.
    """
    mix, gate = summary.get("mix") or {}, summary.get("gate") or {}
    mixed = mix.get("mixed")
    if gate.get("keeps") == "old" or _is_unwritten(summary):
        return None
    return mixed if isinstance(mixed, int | float) and math.isfinite(mixed) else None


def _is_unwritten(summary: Mapping[str, Any]) -> bool:
    """Tell whether a summary says that no model was written."""
    return "onnx" in summary and summary["onnx"] is None


def _worth(mix: Mapping[str, Any]) -> str:
    parts = [
        f"{mix[name]:.3f} {title}"
        for name, title in (("mixed", "in use"), ("alone", "alone"), ("together", "together"))
        if isinstance(mix.get(name), int | float)
    ]
    if not parts or not mix.get("test_samples"):
        return ""
    return f"; accuracy on {mix['test_samples']:,} test samples: {', '.join(parts)}"
