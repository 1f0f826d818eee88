"""Options that several commands of `edgeloop base` have."""

from typing import Annotated

import typer

Replace = Annotated[bool, typer.Option(help="Replace a base of that name in the store.")]
Reference = Annotated[
    str,
    typer.Option(help="Generator whose images it is computed from; see edgeloop generator list."),
]
