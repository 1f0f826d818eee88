"""What a fleet is asked to do."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeloop.runtime import config
from edgeloop.runtime.config import BrokerSettings, Port, Settings


class FleetSettings(Settings):
    """How many devices answer which task, and when."""

    devices: Annotated[int, Field(ge=1, le=60_000)]
    """Number of devices."""
    payload: str | None = None
    """Size of an upload, such as 40KB. [default: prototypes of all classes]"""
    task: str = "load"
    """Name of the task that they take part in."""
    spread: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """Seconds over which the answers to a round are spread."""
    broker: Path | None = None
    """TOML file with the keys of a [broker] table."""
    port: Port | None = None
    """Port of the broker, instead of the file's."""
    identities: Path | None = None
    """Folder of identities, one a device: with it they show certificates and sign."""
    server: str | None = None
    """Address of the authority, for devices that have no identity yet."""
    ca_fingerprint: str | None = None
    """Fingerprint of the authority's certificate."""
    token_file: Path | None = None
    """Path of a file with a token on its first line, which admits all of them."""
    out: Path | None = None
    """Path of a JSON file for the numbers."""
    write_task: Path | None = None
    """Path of a TOML file: write a task for such a fleet there, and stop."""

    def broker_settings(self) -> BrokerSettings:
        """Return how the broker is reached.

        Raises:
            ConfigError: if its file cannot be read, or a key or a value there is wrong.
        """
        file = self.broker
        found = BrokerSettings() if file is None else config.read(file, BrokerSettings)
        return found if self.port is None else found.model_copy(update={"port": self.port})
