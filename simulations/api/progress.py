"""Progress as a person sees it: in a notebook a bar, elsewhere what the command shows."""

import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgeloop.cli import console


@contextmanager
def progress(title: str, total: int, *, shown: bool = True) -> Iterator[Callable[[int, str], None]]:
    """Show how far something long has come.

    Args:
        title: what it is.
        total: steps in all.
        shown: whether anything is.

    Yields:
        a function to call with the number of steps done and a word on how it goes.
    """
    if not shown:
        yield lambda done, word: None
        return
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not shell.has_trait("kernel"):
        with console.progress(title, total) as report:
            yield report
        return
    display: Any = sys.modules["IPython"].display
    handle = display.display(display.HTML(_bar(title, 0, total, "")), display_id=True)
    yield lambda done, word: handle.update(display.HTML(_bar(title, done, total, word)))


def _bar(title: str, done: int, total: int, word: str) -> str:
    text = html.escape(f"{title}: {done}/{total} {word}")
    return f'<progress value="{done}" max="{total}"></progress> {text}'
