"""The subcommands of `edgeloop agent`: what a device's owner does besides running it."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from edgeloop.cli import console
from edgeloop.errors import ConfigError, choose

SUBCOMMANDS: Mapping[str, str] = {
    "init": "edge.device.init",
    "doctor": "edge.device.doctor",
    "install": "edge.device.install",
    "status": "edge.device.status",
    "logs": "edge.device.status",
    "rollback": "edge.device.rollback",
    "uninstall": "edge.device.install",
}
"""Where each one's function of that name is: only the one that is asked for is imported."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop agent` with these arguments, which begin with a subcommand."""
    if arguments[0] not in SUBCOMMANDS:
        raise ConfigError(
            f"agent {arguments[0]}",
            "there is no such subcommand",
            choose(arguments[0], SUBCOMMANDS),
        )
    return console.run_many({arguments[0]: _function(arguments[0])}, "agent", arguments)


def _function(name: str) -> Callable[..., None]:
    found: Callable[..., None] = getattr(import_module(SUBCOMMANDS[name]), name)
    return found
