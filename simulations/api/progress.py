"""Progress as a person sees it: in a notebook a bar, elsewhere what the command shows."""

import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
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
    if not in_notebook():
        with console.progress(title, total) as report:
            yield report
        return
    display: Any = sys.modules["IPython"].display
    handle = display.display(display.HTML(_bar(title, 0, total, "")), display_id=True)
    yield lambda done, word: handle.update(display.HTML(_bar(title, done, total, word)))


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and bool(shell.has_trait("kernel"))


def show_figures() -> None:
    """Have a notebook show matplotlib's figures, whoever made them."""
    if in_notebook():
        shell = sys.modules["IPython"].get_ipython()
        import_module("IPython.core.pylabtools").select_figure_formats(shell, {"png"})


def _bar(title: str, done: int, total: int, word: str) -> str:
    text = html.escape(f"{title}: {done}/{total} {word}")
    return f'<progress value="{done}" max="{total}"></progress> {text}'
