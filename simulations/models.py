"""Lists the architectures and the groups of them: what each costs at inputs of one shape."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from edgeloop import models, screen
from edgeloop.errors import ConfigError, ModelError

IMAGE = (3, 32, 32)
SHAPES: Mapping[str, tuple[int, ...]] = {
    **{"harcnn": (9, 1, 128), "hcnn": (1, 28, 28), "mlp": (5000,)},
    **dict.fromkeys(("fasttext", "textlr", "lstm", "bilstm", "gru", "transformer"), (200,)),
}
"""What an architecture is for, by the beginning of its name; the others are for CIFAR's images."""
COLUMNS = ("architecture", "input", "features D", "parameters of the base", "million FLOPs a pass")
GROUP_COLUMNS = ("group", "client i gets entry i mod X")


@dataclass(frozen=True)
class Cost:
    """What an architecture is at one shape.

    Attributes:
        name: its own.
        shape: of one input, channels first.
        features: D, before they are pooled to the unified width.
        parameters: of the base.
        flops: of a forward pass on one input; None for texts' networks.
    """

    name: str
    shape: tuple[int, ...]
    features: int
    parameters: int
    flops: int | None


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop models` with these arguments."""
    return screen.run(listing, "models", arguments)


def listing(
    shape: Annotated[
        str | None,
        typer.Option(help="Of one input, as 3,32,32. [default: what each is for]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown: docs/models.md.")
    ] = False,
) -> None:
    """List the architectures, and the groups that clients share out."""
    if as_markdown:
        screen.say(markdown(costs()))
        return
    found = costs(None if shape is None else _shape(shape), torchvision=True)
    if as_json:
        groups = {name: list(entries) for name, entries in models.GROUPS.items()}
        content = {"architectures": [asdict(each) for each in found], "groups": groups}
        screen.say(json.dumps(content, indent=1))
    else:
        screen.table("architectures", COLUMNS, [_cells(each) for each in found])
        screen.table("groups", GROUP_COLUMNS, _groups())


def costs(shape: tuple[int, ...] | None = None, torchvision: bool = False) -> list[Cost]:
    """Return each architecture's cost; who does not fit the shape is left out.

    Args:
        shape: of one input; None for what each is for.
        torchvision: list its networks too, where it is installed.
    """
    names = (name for name in models.ARCHITECTURES if torchvision or name not in models.TORCHVISION)
    found = (_cost(name, shape or _purpose(name)) for name in names)
    return [cost for cost in found if cost is not None]


def _cost(name: str, shape: tuple[int, ...]) -> Cost | None:
    try:
        model = models.build(name, shape, 10)
    except ModelError:
        return None
    parameters = sum(each.numel() for each in model.base.parameters())
    # The counter knows neither recurrent layers nor attention on a CPU.
    flops = None if _purpose(name) == SHAPES["gru"] else models.forward_flops(name, shape)
    return Cost(name, shape, models.feature_width(name, shape), parameters, flops)


def _purpose(name: str) -> tuple[int, ...]:
    beginning = name.partition("-")[0]
    return next((SHAPES[each] for each in SHAPES if beginning.startswith(each)), IMAGE)


def markdown(found: Sequence[Cost]) -> str:
    """Return a table of costs and one of groups."""
    return (
        f"{_table(COLUMNS, [_cells(each) for each in found])}\n{_table(GROUP_COLUMNS, _groups())}"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _groups() -> list[list[str]]:
    names = {group: name for name, group in models.ALIASES.items()}
    return [
        [f"{group} ({names[group]})" if group in names else group, ", ".join(entries)]
        for group, entries in models.GROUPS.items()
    ]


def _cells(cost: Cost) -> list[str]:
    shape = " x ".join(map(str, cost.shape))
    return [
        *(cost.name, shape, f"{cost.features:,}", f"{cost.parameters:,}"),
        "" if cost.flops is None else f"{cost.flops / 1e6:.2f}",
    ]


def _shape(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ConfigError("shape", f"{text!r} is no shape", "write numbers as in 3,32,32")
    return numbers
