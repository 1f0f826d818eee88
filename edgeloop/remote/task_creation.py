"""Makes a task of a file, by asking an edgeloop server."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from edgeloop.errors import ConfigError
from edgeloop.remote.asking import Asking, asks
from edgeloop.remote.new_task import NewTask


@asks
def create_task(
    config: Annotated[Path, typer.Argument(help="The task's TOML file.", metavar="FILE")],
    namespace: Annotated[
        str,
        typer.Option(
            help="Namespace of the cluster. [default: the server's stack]", show_default=False
        ),
    ] = "",
    paused: Annotated[bool, typer.Option("--paused", help="Do not begin yet.")] = False,
    *,
    asking: Asking,
) -> None:
    """Create a task from a file, on the server's stack or as a FederatedTask; for admins."""
    try:
        asked = NewTask.model_validate(
            {
                "task": tomllib.loads(config.read_text(encoding="utf-8-sig")),
                "namespace": namespace,
                "begin": not paused,
            }
        )
    except (OSError, ValueError) as error:  # a ValidationError is one: of the namespace
        problem = f"cannot be used ({' '.join(str(error).split())[:200]})"
        raise ConfigError(str(config), problem, "give a task's TOML file") from error
    with asking.connected() as client:
        asking.say_act(client.create_task(asked))
