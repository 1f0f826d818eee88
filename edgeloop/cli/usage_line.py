"""The first line of a command's help: `edgeloop NAME [OPTIONS] WORD [WORD]`, as errors have it.

Each version of the command-line library writes it another way: small letters, braces.
"""

from typing import Any

import typer.core


class Command(typer.core.TyperCommand):
    """A command whose help writes the words that it takes in capitals, and without braces."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        for each in self._words():
            each.metavar = each.metavar or each.name.upper()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return its parts: [] is around what may be left out, ... behind what may be repeated."""
        return [str(self.options_metavar), *map(_piece, self._words())]

    def _words(self) -> list[Any]:
        return [each for each in self.params if each.param_type_name == "argument"]


def _piece(word: Any) -> str:
    name = word.metavar if word.required else f"[{word.metavar}]"
    return name if word.nargs == 1 else f"{name}..."
