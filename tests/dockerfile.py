"""The Dockerfile as its stages: what each begins from, and what it says."""

import re
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parents[1] / "Dockerfile"
IMAGES = ("aggregator", "generator-service", "operator", "agent")


class Stage(NamedTuple):
    """One stage: the image or stage that it begins from, and its text."""

    base: str
    text: str

    def instructions(self, word: str) -> list[str]:
        """Return what follows a word, an entry a line that begins with it."""
        return instructions(self.text, word)


def instructions(text: str, word: str) -> list[str]:
    """Return what follows a word in a Dockerfile's text, continued lines as one."""
    return re.findall(rf"^{word} +(.*)$", text.replace("\\\n", " "), re.MULTILINE)


def head() -> str:
    """Return what stands before the first stage."""
    return re.split(r"^FROM ", FILE.read_text(), maxsplit=1, flags=re.MULTILINE)[0]


def stages() -> dict[str, Stage]:
    """Return the stages by their names, in the file's order."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", FILE.read_text(), flags=re.MULTILINE)[1:]
    found = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {name: Stage(base, text) for base, name, text in found}


def extras(target: str) -> str:
    """Return the package's extras that a target's image has installed."""
    (found,) = re.findall(r'"\.\[([\w,]+)\]"', stages()[f"{target}-build"].text)
    return str(found)


def compiled(target: str) -> str:
    """Return the modules whose bytecode a target's image has, and that of all they import."""
    (found,) = re.findall(
        r'python -P -c "import ([\w., ]+)"(?: \\)?$', stages()[f"{target}-build"].text, re.MULTILINE
    )
    return str(found)


def drops_sources(target: str) -> bool:
    """Return whether other people's modules that a target's image has compiled have no source."""
    return "tools/slim_site.py --compiled " in stages()[f"{target}-build"].text


def image(target: str) -> str:
    """Return all that a target's image is made by: its own stage and those that it stands on."""
    known = stages()
    text, name = "", target
    while name in known:
        text, name = known[name].text + text, known[name].base
    return text
