"""A page for each algorithm, from its own description, settings and messages."""

import json
from collections.abc import Mapping
from typing import Any

from edgeloop import algorithms, generators
from edgeloop.algorithm import Algorithm, AlgorithmInfo
from simulations.commands.algorithms import describe
from tools.docs.interfaces import frame_table
from tools.docs.markdown import code, page, plain, table

FACTS: Mapping[str, Any] = {
    "classes": 10,
    "width": 512,
    "shape": (1, 28, 28),
    "architecture": "cnn",
    "base_sha256": "0" * 64,
    "dims": 8,
}
"""Of a small task: what an algorithm is built with here, to see its messages."""

TRIAL = "--data fashion-sample --partition dirichlet --rounds 10"
YES = {True: "yes", False: "no"}


def pages() -> dict[str, str]:
    """Return the pages of this package's algorithms by their paths, and the list of them."""
    names = algorithms.built_in()
    made = {f"reference/algorithms/{name}.md": _page(name) for name in names}
    infos = {name: algorithms.info(name) for name in names}
    rows = [
        (f"[{info.title}]({name}.md)", plain(info.up), plain(info.down), plain(info.paper))
        for name, info in infos.items()
    ]
    text = (
        "Which to choose, and how they differ: [Algorithms](../../algorithms.md). When taking part"
        " pays: [Exchange](../../exchange.md). B, C, D, K and P in sizes: batch, classes, kept"
        " dimensions, feature width, parameters."
    )
    index = page("Algorithms, one by one", text, table(("algorithm", "up", "down", "paper"), rows))
    return {"reference/algorithms/index.md": index, **made}


def _page(name: str) -> str:
    found, info = describe(name), algorithms.info(name)
    built = _built(name)
    settings = [
        (code(key), code(json.dumps(value)), plain(found["meanings"].get(key, "")))
        for key, value in found["hyperparameters"].items()
    ]
    variants = [
        (code(key), ", ".join(code(f"{k}={json.dumps(v)}") for k, v in values.items()))
        for key, values in found["variants"].items()
    ]
    return page(
        info.title,
        f"{plain(info.paper)}.",
        f"```sh\nedgeloop simulate {name} {TRIAL}\n```",
        "## Facts\n\n" + table(("what", "is"), _facts(info)),
        "## Hyperparameters\n\n" + table(("name", "default", "meaning"), settings),
        "## Variants\n\n" + table(("variant", "sets"), variants),
        f"## What a client uploads\n\n{frame_table(built.upload) or 'Nothing.'}",
        f"## What the server broadcasts\n\n{frame_table(built.broadcast) or 'Nothing.'}",
    )


def _facts(info: AlgorithmInfo) -> list[tuple[str, str]]:
    facts = {
        "runs in": ", ".join(info.runs_in),
        "up": plain(info.up),
        "down": plain(info.down),
        "asks a [generator](../../generators.md)": YES[info.generator],
        "computes on a [base](../../bases.md)": YES[info.base],
        "all clients need one architecture": YES[info.same_architecture],
        "the head must be one linear layer": YES[info.linear_head_only],
        "the server only averages": YES[info.averages],
        "a device can be taken out again": YES[info.forgets],
        "takes [robust rules](../../robustness.md)": YES[info.robust],
        "ours, after a paper's idea": YES[info.experimental],
        "rounds where nobody says": str(info.rounds),
    }
    tried = {key: ", ".join(code(json.dumps(v)) for v in each) for key, each in info.tuned.items()}
    return [
        *facts.items(),
        *((f"`edgeloop tune` tries `{key}`", text) for key, text in tried.items()),
    ]


def _built(name: str) -> Algorithm[Any, Any, Any]:
    asked = generators.load("digits") if algorithms.info(name).generator else None
    options = algorithms.supported_options(name, **FACTS)
    return algorithms.load(name, asked, **{**options, **algorithms.generator_options(name, asked)})
