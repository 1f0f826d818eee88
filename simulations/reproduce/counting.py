"""How many numbers a round's messages hold, by formula: the arithmetic of a communication table.

Symbols: M clients, C classes, K feature width, H latent width, P pixels of an image, W weights of
the auxiliary model, G of FedGen's generator, S the sum over clients of the classes that they train
on. Source: the communication tables of FedTGP (Table 5) and FedKTL.
"""

import ast
import csv
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from edgeloop import algorithms, models
from edgeloop.data import Federation
from edgeloop.runtime import atomic_files
from simulations.results.folder import IDENTITY
from simulations.settings import RunSettings

MILLION = 1_000_000
PROTOTYPES = {"known_C", "prototypes_CD"}

Facts = Mapping[str, int]
Formula = tuple[str, Callable[[Facts], int]]


def formula(text: str) -> Formula:
    """Return a formula and what computes it: sums and products, "M (K + 1) C", of symbols.

    Raises:
        ValueError: if it is none.
    """
    words = re.findall(r"[A-Z]|\d+|[+()]", text)
    if "".join(words) != text.replace(" ", ""):
        raise ValueError(f"{text!r} is no formula")
    pairs = itertools.pairwise([*words, ")"])
    product = "".join(
        one + ("*" if one not in "+(" and two not in "+)" else "") for one, two in pairs
    )
    tree = ast.parse(product, mode="eval").body
    return text, lambda facts: _value(tree, facts)


def _value(node: ast.expr, facts: Facts) -> int:
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, facts), _value(node.right, facts)
        return left + right if isinstance(node.op, ast.Add) else left * right
    return facts[node.id] if isinstance(node, ast.Name) else int(ast.literal_eval(node))


@cache
def formulas() -> Mapping[str, tuple[Formula, Formula]]:
    """Return those up and down, by algorithm.

    FedKD's depends on its models' singular values: there is none.
    """
    return {
        name: (formula(numbers[0]), formula(numbers[1]))
        for name in algorithms.built_in()
        if (numbers := algorithms.info(name).numbers)
    }


def carried(folder: Path) -> dict[str, float]:
    """Return what a run's messages come to, for measures that its summary does not have.

    Returns:
        `numbers_down_per_client`: as `count_downloaded`; `all_bytes_up_per_client` and
        `all_bytes_down_per_client`: of all rounds, the last broadcast included.
    """
    with (folder / "rounds.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clients = len(atomic_files.read_json(folder / IDENTITY)["models_by_client"])
    totals = {
        f"all_{way}_per_client": sum(int(row[way]) for row in rows) / clients
        for way in ("bytes_up", "bytes_down")
    }
    return {"numbers_down_per_client": count_downloaded(folder), **totals}


def count_downloaded(folder: Path) -> int:
    """Return how many numbers a run's last broadcast holds, as papers count.

    Not the mean over rounds: the first broadcast of many algorithms holds nothing yet. A class
    without a prototype counts nothing. Pixels count as numbers, though here they travel as bytes.
    """
    arrays = safetensors.numpy.load_file(folder / "prototypes.safetensors")
    if set(arrays) == PROTOTYPES:
        return int(arrays["known_C"].sum()) * int(arrays["prototypes_CD"].shape[1])
    return sum(int(array.size) for array in arrays.values() if array.dtype.kind in "fu")


def count_numbers(runs: Sequence[RunSettings]) -> dict[str, Any]:
    """Return the formulas of some runs' algorithms, their values in millions, and the facts.

    Args:
        runs: on one data set that is divided in one way, of models whose first ones are alike.

    Raises:
        DataError: if the data cannot be read.
    """
    facts = _facts(runs)
    rows = {
        run.algorithm: _row(run.algorithm, facts) for run in runs if run.algorithm in formulas()
    }
    return {"facts": dict(facts), "rows": rows}


def markdown(found: Mapping[str, Any] | None) -> str:
    """Return what `count_numbers` found as a paragraph and a table; nothing for None."""
    if found is None:
        return ""
    facts = ", ".join(f"{name} = {value:,}" for name, value in found["facts"].items())
    lines = ["| algorithm | up | M | down | M |", "| --- | --- | --- | --- | --- |"]
    for name, row in found["rows"].items():
        title = algorithms.info(name).title
        up, down = (f"{row[f'formula_{way}']} | {row[way]:.2f}" for way in ("up", "down"))
        lines.append(f"| {title} | {up} | {down} |")
    return f"\nBy formula, millions of all clients, with {facts}:\n\n" + "\n".join(lines) + "\n"


def _row(algorithm: str, facts: Facts) -> dict[str, Any]:
    (up, count_up), (down, count_down) = formulas()[algorithm]
    return {
        **{"formula_up": up, "up": count_up(facts) / MILLION},
        **{"formula_down": down, "down": count_down(facts) / MILLION},
    }


def _facts(runs: Sequence[RunSettings]) -> dict[str, int]:
    first = runs[0]
    federation = first.federation()
    classes, width = federation.classes, first.width
    architecture = models.client_architectures(first.models or "cnn", 1)[0]
    auxiliary = models.build(architecture, federation.shape, classes, width)
    return {
        **{"M": len(federation), "C": classes, "K": width, "P": prod(federation.shape)},
        "S": trained_classes(federation, first.batch_size),
        "W": sum(weights.numel() for weights in auxiliary.parameters()),
        "G": generator_weights(classes, width),
        "H": next((g.latent_dim for g in (run.open_generator() for run in runs) if g), 0),
    }


def trained_classes(federation: Federation, batch_size: int) -> int:
    """Return S: the classes in each client's full batches, summed over clients."""
    count = 0
    for client in range(len(federation)):
        train_N, _ = federation.labels(client)
        count += len(np.unique(train_N[: len(train_N) // batch_size * batch_size]))
    return count


def generator_weights(classes: int, width: int) -> int:
    """Return G: the weights of a generator that is learned with, and sent."""
    configs = (
        algorithms.config(name, **algorithms.supported_options(name, classes=classes, width=width))
        for name, (_, (down, _)) in formulas().items()
        if "G" in down
    )
    return next((int(each.generator_weights) for each in configs), 0)
