"""How many channels an extractor reads, beside those that it would get."""

from collections.abc import Sequence

import onnx

from edgeloop.errors import BaseError

REMEDY = "give --shape, --channels-last, or three numbers of --mean and --std for grey"


def given(shape: tuple[int, ...], mean: Sequence[float]) -> int:
    """Return the channels of what an extractor gets: grey three times for three colours' means."""
    return 3 if shape[0] == 1 and len(mean) == 3 else shape[0]


def check(model: onnx.ModelProto, shape: tuple[int, ...], channels: int, name: str) -> None:
    """Name the channels, where a file that cannot be run has a first convolution of others.

    Raises:
        BaseError: naming both numbers.
    """
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    sides = shapes.get(convolutions[0].input[1], []) if convolutions else []
    if len(sides) < 2:
        return
    groups = next((each.i for each in convolutions[0].attribute if each.name == "group"), 1)
    reads = sides[1] * groups
    if reads != channels:
        problem = f"cannot be run on inputs of {tuple(shape)}: it reads {reads} channels, and would"
        raise BaseError(name, f"{problem} get {channels}", REMEDY)
