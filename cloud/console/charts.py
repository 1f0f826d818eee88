"""What the pages' charts are made of, as `static/page.js` draws them with uPlot.

A chart is a table: a column of round numbers, and one a line; the page has the same numbers in a
table of HTML, too.
"""

from collections.abc import Sequence
from typing import Any

from edgeloop.remote.models import Round

Chart = dict[str, Any]


def _line(label: str, colour: str, *dash: int) -> Chart:
    """Return a line; its colour is a variable of `static/page.css`."""
    return {"label": label, "colour": colour, "dash": list(dash)}


def accuracy(rounds: Sequence[Round]) -> Chart:
    """Return accuracy by round: together, spread over devices, alone."""
    names = ("number", "accuracy", "low", "median", "high", "alone")
    return {
        "unit": "share",
        "band": [4, 2],
        "lines": [
            _line("Together", "--link"),
            _line("Low (10 %)", "--line"),
            _line("Median", "--good", 6, 4),
            _line("High (90 %)", "--line"),
            _line("Alone", "--wait", 2, 4),
        ],
        "columns": [[getattr(each, name) for each in rounds] for name in names],
    }


def traffic(rounds: Sequence[Round]) -> Chart:
    """Return bytes by round: of all answers, and of what all who answered have fetched."""
    fetched = [
        None if each.bytes_down is None else each.bytes_down * each.participants for each in rounds
    ]
    return {
        "unit": "bytes",
        "lines": [_line("Up", "--link"), _line("Down", "--good", 6, 4)],
        "columns": [[each.number for each in rounds], [each.bytes_up for each in rounds], fetched],
    }


def losses(rounds: Sequence[Round]) -> list[tuple[str, Chart]]:
    """Return a chart of each of the algorithm's own numbers by round, with its name."""
    names = dict.fromkeys(name for each in rounds for name in each.measures or {})
    numbers = [each.number for each in rounds]
    return [
        (
            name,
            {
                "unit": "number",
                "lines": [_line(name.replace("_", " "), "--link")],
                "columns": [numbers, [(each.measures or {}).get(name) for each in rounds]],
            },
        )
        for name in names
    ]
