"""A comparison as a table for a paper or a spreadsheet: LaTeX with booktabs, or CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

MEASURES: Mapping[str, str] = {
    "best_accuracy": "best accuracy",
    "final_accuracy": "last accuracy",
    "bytes_up": "bytes up",
    "bytes_down": "bytes down",
    "seconds": "seconds",
}
"""What of a side is in the table, and its heading."""

_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}


def as_csv(found: Mapping[str, Any]) -> str:
    """Return what `compare` found: a line a side, each measure's mean and std, and the runs."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    known = _known(found)
    lines.writerow(["name", "runs", *(f"{name}{end}" for name in known for end in ("", "_std"))])
    for side in (found["a"], found["b"]):
        cells = [side[name][key] for name in known for key in ("mean", "std")]
        lines.writerow([side["name"], len(side["folders"]), *cells])
    return text.getvalue()


def as_latex(found: Mapping[str, Any]) -> str:
    """Return it as a tabular of the package booktabs; mean and std of several runs, in a cell."""
    known = _known(found)
    head = ["", *(MEASURES[name] for name in known)]
    rows = [
        [escape(side["name"]), *(_cell(name, side[name]) for name in known)]
        for side in (found["a"], found["b"])
    ]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(known)}}}",
            r"\toprule",
            _line(head),
            r"\midrule",
            *(_line(row) for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _known(found: Mapping[str, Any]) -> list[str]:
    """Return the measures that both sides have."""
    return [name for name in MEASURES if all(_has(found[side], name) for side in ("a", "b"))]


def _has(side: Mapping[str, Any], name: str) -> bool:
    described = side.get(name)
    return isinstance(described, dict) and described.get("mean") is not None


def _cell(name: str, described: Mapping[str, Any]) -> str:
    if name.endswith("accuracy"):
        scale, form = 100, "{:.2f}"
    else:
        scale, form = 1, "{:,.0f}" if name.startswith("bytes") else "{:.1f}"
    mean, std = described["mean"], described["std"]
    shown = form.format(scale * mean)
    if std is not None:
        shown += rf" \pm {form.format(scale * std)}"
    return f"${shown.replace(',', '{,}')}$"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
