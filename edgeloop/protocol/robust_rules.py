"""How a server averages what some clients may have forged: the rules' names."""

from typing import Annotated, Literal

from pydantic import Field

RobustRule = Literal["none", "norm", "clip", "median", "trimmed-mean", "geometric-median", "krum"]
"""What a run does with a round's uploads before its algorithm has them; see `edgeloop.robust`."""

RobustChoice = Annotated[
    Literal["auto", "none", "norm", "clip", "median", "trimmed-mean", "geometric-median", "krum"],
    Field(
        description="Rule against forged uploads: norm, clip, median, trimmed-mean,"
        " geometric-median, krum or none; auto is norm. Fixed for a run."
    ),
]
"""What a person asks for."""

DEFAULT: RobustRule = "norm"
"""Of a run that nobody has chosen a rule for, and whose algorithm takes one."""
