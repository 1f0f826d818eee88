"""What a person sees of data sets: the catalogue, a pool, a federation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeloop.cli import console
from edgeloop.data import Federation, Pool
from edgeloop.data.catalogue import Entry
from simulations.commands.partition import rows

COLUMNS = ("name", "what", "samples", "classes", "input", "layout", "fetched", "from", "licence")


def cells(entry: Entry) -> list[str]:
    """Return an entry's row."""
    fetched = "in the package" if entry.layout == "embedded" else "by hand"
    if entry.torchvision:
        fetched = f"by torchvision: {entry.torchvision}"
    samples = "" if entry.samples is None else f"{entry.samples:,}"
    sizes = (samples, str(entry.classes), " x ".join(map(str, entry.shape)))
    return [entry.name, entry.title, *sizes, entry.layout, fetched, entry.source, entry.licence]


def markdown(entries: Sequence[Entry]) -> str:
    """Return the catalogue as a table in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [[f"`{name}`", *others] for name, *others in map(cells, entries)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show_pool(source: str, layout: str, pool: Pool, *, as_json: bool) -> None:
    """Show an undivided data set: what it is, and its classes."""
    found = {"layout": layout, **pool_facts(pool)}
    counts = np.bincount(pool.labels, minlength=pool.classes).tolist()
    by_class = dict(zip(pool.class_names, counts, strict=True))
    _show(source, found, as_json, {"samples_by_class": by_class})
    if not as_json:
        console.table("classes", ("class", "samples"), list(by_class.items()))


def show_federation(source: str, federation: Federation, *, as_json: bool) -> None:
    """Show a divided data set: what it is, and every client's samples by class.

    The files of all clients are read, so that one that does not fit is found here.
    """
    federation.check()
    shares = rows(federation)
    columns = ("client", "train", "test", *federation.class_names)
    _show(source, federation_facts(federation), as_json, {"columns": columns, "rows": shares})
    if not as_json:
        console.table("clients", columns, shares)


def pool_facts(pool: Pool) -> dict[str, Any]:
    """Return what a pool is; `natural_clients` is None where it names none."""
    natural = None if pool.clients is None else len(np.unique(pool.clients))
    facts = {"samples": len(pool), "classes": pool.classes, "shape": list(pool.shape)}
    return {**facts, "pixels": pool.pixels, "natural_clients": natural}


def federation_facts(federation: Federation) -> dict[str, Any]:
    """Return what a federation is."""
    sizes = federation.sizes()
    return {
        "clients": len(federation),
        "classes": federation.classes,
        "train": sum(train for train, _ in sizes),
        "test": sum(test for _, test in sizes),
        "shape": list(federation.shape),
        "pixels": federation.pixels,
        "fingerprint": federation.fingerprint(),
    }


def _show(source: str, found: Mapping[str, Any], as_json: bool, more: Mapping[str, Any]) -> None:
    if as_json:
        console.say(json.dumps({**found, **more}, indent=1))
    else:
        known = [(name, value) for name, value in found.items() if value is not None]
        console.table(source, ("fact", "value"), known)
