"""The server's settings: what it follows, who may do what, and where it is reached."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from sqlalchemy import URL

from cloud.authority.settings import Host
from edgeloop.protocol.task import Name
from edgeloop.runtime.config import BrokerSettings, Settings, first_line

AGGREGATOR_URL = "http://{name}.{namespace}.svc:9464"
"""The Service that the operator makes for a task."""


class FollowedAggregator(Settings):
    """An aggregator that somebody else runs: it is looked at, and nothing is done about it."""

    name: Name
    """What the server calls its task."""
    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._:\[\]-]+/?$")]
    """Of its HTTP interface."""
    token_file: Path | None = None
    """With a viewer's token on its first line, where the aggregator wants one."""
    ca_file: Path | None = None
    """Whose certificate it may show, PEM."""


class ServerSettings(Settings):
    """A server: what it follows, who may do what, and where it is reached."""

    folder: Path
    """For its database."""
    stack: Path | None = None
    """The file of an `edgeloop up` on this machine, whose tasks it follows and acts on."""
    token_file: Path | None = None
    """With a viewer's token on its first line, where the aggregators of the stack or of the cluster
    want one."""
    namespaces: tuple[Name, ...] = ()
    """Of a Kubernetes cluster, whose FederatedTasks it follows and acts on."""
    aggregator_url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._:{}\[\]-]+/?$")] = (
        AGGREGATOR_URL
    )
    """Of the HTTP interface of a FederatedTask's aggregator, with `{name}` and `{namespace}`; a
    server outside the cluster reaches none under the default."""
    aggregators: tuple[FollowedAggregator, ...] = ()
    """Others that it looks at."""
    alone: dict[str, Path] = Field(default_factory=dict)
    """Folders of finished runs of Local (`edgeloop simulate local`) of the same devices and data,
    by task: what each device reaches alone, drawn beside the task."""
    tokens_file: Path
    """Tokens of viewers, operators and admins (`edgeloop ca http-token`)."""
    listen: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    """Of HTTP, or HTTPS with a certificate; 0 for any free one, which is logged."""
    hosts: tuple[Host, ...] = ()
    """Names and addresses that it is reached by, beside this machine's own."""
    certificate_file: Path | None = None
    """For HTTPS, PEM; plain HTTP if not given."""
    key_file: Path | None = None
    """Its private key."""
    store: str | None = None
    """The database as SQLAlchemy writes it; SQLite in the folder if not given."""
    store_file: Path | None = None
    """A file with that on its first line, for one that has a password in it."""
    broker: BrokerSettings | None = None
    """Where devices are reached for roll-outs, and as whom: of tasks of a cluster, and of
    aggregators that are only looked at. A stack's tasks have their own."""
    poll_seconds: Annotated[float, Field(ge=0.2, le=3600)] = 2.0
    """Between two looks at all tasks."""

    @model_validator(mode="after")
    def _consistent(self) -> "ServerSettings":
        if self.store is not None and self.store_file is not None:
            raise ValueError("store and store_file are two answers to one question")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.stack is None and not self.namespaces and not self.aggregators:
            raise ValueError("there is nothing to follow: give stack, namespaces or aggregators")
        names = [each.name for each in self.aggregators]
        if len(set(names)) < len(names):
            raise ValueError("aggregators has a name twice")
        if self.certificate_file is None and not self.is_private:
            raise ValueError(
                f"listen = {self.listen!r} would send tokens in plain text over the network:"
                " give certificate_file and key_file, or listen on 127.0.0.1"
            )
        return self

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it."""
        return self.listen in ("localhost", "::1") or self.listen.startswith("127.")

    def database(self) -> str | URL:
        """Return the URL of the database.

        Raises:
            ConfigError: if `store_file` cannot be read.
        """
        if self.store_file is not None:
            return first_line(self.store_file, "store_file")
        file = str(self.folder.absolute() / "server.sqlite")
        return self.store or URL.create("sqlite", database=file)
