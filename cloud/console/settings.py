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
    """An aggregator that somebody else runs: the server shows it, but does not act on it."""

    name: Name
    """Name of its task on the server."""
    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._:\[\]-]+/?$")]
    """URL of its HTTP interface."""
    token_file: Path | None = None
    """File whose first line is a viewer's token, if the aggregator needs one."""
    ca_file: Path | None = None
    """Certificate of the authority that signed the aggregator's, PEM."""


class ServerSettings(Settings):
    """A server: what it follows, who may do what, and where it is reached."""

    folder: Path
    """Folder for the server's database."""
    stack: Path | None = None
    """File of an `edgeloop up` on this machine; the server follows its tasks and acts on them."""
    token_file: Path | None = None
    """File whose first line is a viewer's token, if the aggregators of the stack or of the cluster
    need one."""
    namespaces: tuple[Name, ...] = ()
    """Namespaces of a Kubernetes cluster; the server follows their FederatedTasks and acts on
    them."""
    aggregator_url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._:{}\[\]-]+/?$")] = (
        AGGREGATOR_URL
    )
    """URL of the HTTP interface of a FederatedTask's aggregator, with `{name}` and `{namespace}`;
    a server outside the cluster reaches none of them with the default."""
    aggregators: tuple[FollowedAggregator, ...] = ()
    """Further aggregators, which the server only shows."""
    alone: dict[str, Path] = Field(default_factory=dict)
    """For each task, the folder of a finished run of Local (`edgeloop simulate local`) on the same
    devices and data. The task's pages then show what each device reaches alone."""
    tokens_file: Path
    """Tokens of viewers, operators and admins (`edgeloop ca http-token`)."""
    listen: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    """Port of HTTP, or of HTTPS with a certificate; 0 for any free one, which is logged."""
    hosts: tuple[Host, ...] = ()
    """Names and addresses at which browsers reach the server, besides this machine's own."""
    certificate_file: Path | None = None
    """Certificate for HTTPS, PEM; plain HTTP if not given."""
    key_file: Path | None = None
    """Private key of the certificate."""
    store: str | None = None
    """URL of the database, in SQLAlchemy's form; SQLite in the folder if not given."""
    store_file: Path | None = None
    """File whose first line is that URL, for a URL with a password."""
    broker: BrokerSettings | None = None
    """Broker for roll-outs to devices of a cluster's tasks, and of aggregators that the server only
    shows. A stack's tasks use the stack's broker."""
    poll_seconds: Annotated[float, Field(ge=0.2, le=3600)] = 2.0
    """Seconds between two polls of all tasks."""

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
        _check_template(self.aggregator_url)
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


def _check_template(url: str) -> None:
    try:
        url.format(name="a", namespace="b")
    except (LookupError, ValueError, TypeError, AttributeError):  # "{task}", "{", "{name.x}"
        problem = f"aggregator_url is {url!r}, but may hold {{name}} and {{namespace}}"
        raise ValueError(f"{problem}, and no other braces") from None
