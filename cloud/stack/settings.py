"""A stack's configuration file: the parts' own tables, and what they share."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cloud.authority.settings import Days, Host
from edgeloop.protocol.task import Name, Size
from edgeloop.runtime.config import BrokerSettings, Port, Seconds, Settings

Table = dict[str, Any]


class StackBroker(BrokerSettings):
    """The `[broker]` table: where all parts reach the broker, and who runs it.

    Attributes:
        run: "mosquitto", "wheel" (for trials, on the loopback interface only), or "external" (run
            by somebody else).
        listen: address that Mosquitto listens on.
        server_certificate_file: Mosquitto's certificate and its chain, PEM. With it, clients must
            present a certificate signed by `ca_file`, and have the rights of their common name.
        server_key_file: private key of that certificate, PEM.
        trusted: common names, besides "aggregator", that may read and write everything.
        config_file: your own Mosquitto configuration, instead of the generated one.
        hosts: names and addresses at which devices reach Mosquitto; the stack's own authority
            writes them into the broker's certificate.
        services_port: port at which the stack's aggregators reach Mosquitto; the one after `port`
            if not given.
        plain: no TLS and no certificates: everybody who reaches Mosquitto may read and write
            everything.
    """

    run: Literal["mosquitto", "wheel", "external"] = "mosquitto"
    listen: str = "127.0.0.1"
    server_certificate_file: Path | None = None
    server_key_file: Path | None = None
    trusted: tuple[Name, ...] = ()
    config_file: Path | None = None
    hosts: tuple[Host, ...] = ()
    services_port: Port | None = None
    plain: bool = False

    @model_validator(mode="after")
    def _runnable(self) -> "StackBroker":
        own = {"server_certificate_file", "server_key_file", "trusted", "config_file", "listen"}
        own |= {"hosts", "services_port", "plain"}
        if self.run != "mosquitto" and (given := sorted(own & self.model_fields_set)):
            raise ValueError(f"{given[0]} is Mosquitto's, and run is {self.run!r}")
        if self.run == "wheel" and self.transport != "tcp":
            raise ValueError('the wheel\'s broker speaks no websockets: give run = "mosquitto"')
        if (self.server_certificate_file is None) != (self.server_key_file is None):
            raise ValueError("server_certificate_file and server_key_file go together")
        if self.server_certificate_file is not None and self.ca_file is None:
            raise ValueError("server_certificate_file needs ca_file, whose clients may come in")
        if self.config_file is None and self.server_certificate_file is None:
            _check_private(self)
        return self

    @property
    def has_own_authority(self) -> bool:
        """Whether the stack makes an authority for its broker, and certificates for its parts."""
        given = (self.config_file, self.server_certificate_file, self.ca_file)
        return self.run == "mosquitto" and not self.plain and given == (None, None, None)

    @property
    def inner_port(self) -> int:
        """The port that the stack's aggregators reach its own broker by."""
        return self.services_port or (self.port + 1 if self.port < 65_535 else self.port - 1)

    @property
    def served_on(self) -> str:
        """The address that the stack's own broker listens on, as far as the stack knows it."""
        return self.listen if self.config_file is None else self.host

    def shared(self) -> Table:
        """Return the table that the parts get."""
        theirs = set(BrokerSettings.model_fields)
        return self.model_dump(mode="json", include=theirs, exclude_unset=True)


class ServedAuthority(Settings):
    """The `[authority]` table: serve the stack's own authority, for devices elsewhere.

    Attributes:
        listen: address to listen on; the broker's if not given.
        port: port of HTTPS.
        days: days that a device's certificate is valid.
        tokens_file: tokens of viewers, operators and admins; nobody if not given.
    """

    listen: str | None = None
    port: Port = 8443
    days: Days = 7.0
    tokens_file: Path | None = None


class GeneratorSettings(Settings):
    """The `[generator]` table: what Triton serves; the keys are `edgeloop generator serve`'s.

    Attributes:
        source: digits, a name in the store, or a folder.
        name: name on the server; the last part of the source if not given.
        instances: number of instances of each model.
        gpu: whether the models run on a GPU.
        threads: number of threads of one inference.
        host: address to listen on.
        http_port: port for HTTP health checks.
        grpc_port: port for the aggregators.
        metrics_port: port for Prometheus metrics.
        home: folder of the tritonserver.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    name: Name | None = None
    instances: Size = 1
    gpu: bool = False
    threads: Size = 1
    host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    home: Path | None = None

    @property
    def served_name(self) -> str:
        """The generator's name on the server."""
        return self.name or Path(self.source).name

    @property
    def reference(self) -> str:
        """How an aggregator names it."""
        return f"triton://127.0.0.1:{self.grpc_port}/{self.served_name}"


class StackSettings(Settings):
    """A stack: what runs on this machine.

    Attributes:
        folder: folder for the parts' state, and for the files that are written for them.
        restart_seconds: seconds to wait before a part is restarted. They double each time, up to a
            minute, until the part has run for a minute.
        start_seconds: seconds that a part may take until it is ready for the first time.
        stop_seconds: seconds that a part may take to end before it is killed.
        broker: who runs the broker, and where.
        authority: where the stack's own authority is served; not served if not given.
        generator: what the stack's own Triton serves; no Triton runs if not given.
        aggregators: tables as `edgeloop aggregator` reads them.
        agents: tables as `edgeloop agent` reads them.
    """

    folder: Path
    restart_seconds: Seconds = 1.0
    start_seconds: Seconds = 300.0
    stop_seconds: Seconds = 30.0
    broker: Annotated[Table, Field(default_factory=dict)]
    authority: Table | None = None
    generator: Table | None = None
    aggregators: tuple[Table, ...] = ()
    agents: tuple[Table, ...] = ()


def _check_private(broker: StackBroker) -> None:
    listen = broker.listen
    try:
        private = listen == "localhost" or ipaddress.ip_address(listen).is_loopback
    except ValueError:
        private = False
    if not (private or broker.plain or broker.hosts):
        raise ValueError(
            f"listen = {listen!r} would let everybody on the network in: give"
            " server_certificate_file, server_key_file and ca_file, or a config_file of your own;"
            " or hosts, for certificates of the stack's own; or plain = true"
        )
