"""Options that several commands of `edgeloop base` have."""

from typing import Annotated

import typer

Shape = Annotated[
    str, typer.Option(help="Of one input of the clients: channels x height x width, as 3x32x32.")
]
Replace = Annotated[bool, typer.Option(help="Replace the one in the store that has the name.")]
Reference = Annotated[
    str, typer.Option(help="Whose images it is computed from: see edgeloop generator list.")
]
