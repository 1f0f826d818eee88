"""An authority's settings: `authority.toml` in its folder."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from sqlalchemy import URL

from edgeloop.errors import ConfigError
from edgeloop.runtime.config import PREFIX, Port, Settings, first_line

FILE = "authority.toml"

Days = Annotated[float, Field(ge=0.01, le=397)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]


class AuthoritySettings(Settings):
    """An authority: where it listens, for how long its certificates hold, and who is told."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = ("localhost", "127.0.0.1")
    """Names and addresses that devices reach it by: its own certificate has them."""
    listen: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    """Of HTTPS; 0 for any free one, which is logged."""
    days: Days = 7.0
    """For how long a device's certificate holds; the agent renews it when half of that is over."""
    service_days: Days = 90.0
    """For how long a service's certificate holds: the broker's, an aggregator's, its own."""
    store: str | None = None
    """The database as SQLAlchemy writes it; SQLite in the folder if not given."""
    store_file: Path | None = None
    """A file with that on its first line, for one that has a password in it."""
    passphrase_file: Path | None = None
    """A file with the keys' passphrase on its first line; they are not encrypted if not given."""
    tokens_file: Path | None = None
    """Tokens of viewers, operators and admins (`edgeloop ca http-token`); nobody if not given."""
    broker_folder: Path | None = None
    """Where the broker reads its rights and the lists of revoked certificates."""
    broker_pid_file: Path | None = None
    """With Mosquitto's process id: it is told to read them again (SIGHUP)."""
    broker_port: Port = 8883
    """That devices reach the broker by; `edgeloop enroll` writes it down."""
    broker_host: Host | None = None
    """That devices reach the broker by; the authority's own host if not given."""
    prefix: Annotated[str, Field(pattern=PREFIX, max_length=256)] = ""
    """Before all topics, as in the `[broker]` tables."""

    trusted: tuple[Annotated[str, Field(pattern="^[!-~]+$", max_length=256)], ...] = ()
    """Users that the broker calls so and that may read and write all, beside those signed here."""
    signed_elsewhere: bool = False
    """Whether others sign services with the same key, as on Kubernetes: then what was signed there
    holds here, too, until it expires."""

    @model_validator(mode="after")
    def _one_store(self) -> "AuthoritySettings":
        if self.store is not None and self.store_file is not None:
            raise ValueError("store and store_file are two answers to one question")
        return self

    @property
    def life(self) -> timedelta:
        """For how long a device's certificate holds."""
        return timedelta(days=self.days)

    @property
    def service_life(self) -> timedelta:
        """For how long a service's certificate holds."""
        return timedelta(days=self.service_days)

    def passphrase(self) -> str | None:
        """Return the keys' passphrase, if they have one.

        Raises:
            ConfigError: if its file cannot be read, or has none.
        """
        if self.passphrase_file is None:
            return None
        found = first_line(self.passphrase_file, "passphrase_file").strip()
        if not found:
            problem = f"{self.passphrase_file} has an empty first line"
            raise ConfigError("passphrase_file", problem, "write the passphrase there")
        return found

    def database(self, folder: Path) -> str | URL:
        """Return the URL of the database.

        Raises:
            ConfigError: if `store_file` cannot be read.
        """
        if self.store_file is not None:
            return first_line(self.store_file, "store_file")
        file = str(folder.absolute() / "authority.sqlite")
        return self.store or URL.create("sqlite", database=file)
