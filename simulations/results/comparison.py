"""How two groups of finished runs differ: in settings, accuracies, traffic, client by client."""

from collections.abc import Sequence
from typing import Any

from edgeloop.errors import ConfigError
from edgeloop.statistics.verdict import apart
from simulations.results import pairing
from simulations.results.groups import Group, differing_settings, group_runs
from simulations.results.runs import FinishedRun
from simulations.results.seed_statistics import describe_values


def only_group(runs: Sequence[FinishedRun], side: str, place: str) -> Group:
    """Return the only group among runs.

    Args:
        runs: finished ones.
        side: what the group is called in a message.
        place: where the runs are.

    Raises:
        ConfigError: if the runs differ in more than the seed.
    """
    groups = group_runs(runs)
    if len(groups) > 1:
        keys = ", ".join(differing_settings([group.stated_settings for group in groups]))
        keys = keys or "the first weights of their own networks"
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
        "settings": differing_settings([a.stated_settings, b.stated_settings]),
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
    tested = [name for name, count in a.tested.items() if count]
    rows = {name: {"a": left[name], "b": right[name]} for name in left if name in tested}
    differences = {name: each["b"] - each["a"] for name, each in rows.items()}
    whole = describe_values(list(differences.values()) or [0.0])
    return {
        "by_client": {
            name: {**each, "difference": differences[name]} for name, each in rows.items()
        },
        "difference": {key: whole[key] for key in ("mean", "std", "ci95")},
        "better": sum(each > 0 for each in differences.values()),
        "worse": sum(each < 0 for each in differences.values()),
    }
