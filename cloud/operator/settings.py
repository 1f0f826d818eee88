"""What an operator is told by its flags and its environment."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from edgeloop.runtime.config import Option, Port, Seconds, Settings, Signing
from edgeloop.runtime.logs import Format

METRICS_PORT = 9464
"""Where an aggregator tells its metrics, its health and its status."""

BASES_PORT = 9466
"""Where a Base's server answers."""

_PLACE = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")


class OperatorSettings(Settings):
    """What the operator makes aggregators from; for an option or a variable, empty is none."""

    namespaces: Annotated[
        tuple[str, ...], Field(min_length=1), Option(name="--namespace", several=True)
    ]
    """Namespace to watch. May be repeated."""
    aggregator_image: Annotated[str, Field(min_length=1)]
    """Image of the aggregator pods."""
    generator_image: str = ""
    """Image of the jobs that write generators, and of the servers of bases."""
    pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)$")] = "IfNotPresent"
    """Pull policy of both images."""
    pull_secrets: Annotated[tuple[str, ...], Option(name="--pull-secret", several=True)] = ()
    """Pull secret of both images. May be repeated."""
    broker_host: Annotated[str, Field(min_length=1)]
    """MQTT broker for tasks that name none."""
    broker_port: Port = 8883
    """Port of the broker."""
    broker_secret: Annotated[str | None, Option(default="")] = None
    """Secret with ca.crt, tls.crt, tls.key; without it, plain MQTT."""
    broker_client_certificates: bool = True
    """Present a client certificate, or only verify the broker's."""
    broker_username: Annotated[str | None, Option(default="")] = None
    """User name at the broker, if it needs one."""
    broker_password_secret: Annotated[str | None, Option(default="")] = None
    """Secret with the broker password, if it needs one."""
    broker_password_key: str = "password"  # noqa: S105 - where it is
    """Key of that secret."""
    broker_transport: Literal["tcp", "websockets"] = "tcp"
    """Transport to the broker: tcp or websockets."""
    broker_path: Annotated[str | None, Option(default="")] = None
    """Path of its websocket, such as /mqtt."""
    broker_alpn: Annotated[str | None, Option(default="")] = None
    """ALPN protocol that TLS asks for."""
    broker_proxy: Annotated[str | None, Option(default="")] = None
    """HTTP proxy on the way: http://host:port, or none."""
    broker_prefix: Annotated[str | None, Option(default="")] = None
    """Prefix of all topics, such as plant-3/."""
    broker_client_id_prefix: Annotated[str | None, Option(default="")] = None
    """Prefix of all client ids."""
    authority_folder: Annotated[Path | None, Option(default="")] = None
    """Folder with tls.crt and tls.key of the authority that signs aggregators' certificates."""
    authority_url: Annotated[
        Annotated[str, Field(pattern=r"^https://[A-Za-z0-9._:\[\]-]+/?$")] | None,
        Option(default=""),
    ] = None
    """Authority that devices enrol at: aggregators ask it which certificates are revoked."""
    authority_token_file: Annotated[Path | None, Option(default="")] = None
    """File with the operator's token for that authority: then Devices are admitted and revoked."""
    certificate_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days that an aggregator's certificate holds; it is renewed with a third of them left."""
    signatures: Signing = "off"
    """Whether tasks at the operator's broker are signed, if they do not say it themselves."""
    database_secret: Annotated[str | None, Option(default="")] = None
    """Secret with a PostgreSQL URL; without it, SQLite."""
    database_key: str = "url"
    """Key of that secret."""
    triton: Annotated[str | None, Option(default="")] = None
    """HOST:PORT of Triton's gRPC endpoint, if there is one."""
    triton_pods: Annotated[str | None, Option(default="")] = None
    """HOST:PORT that resolves to all Triton pods, where there are several."""
    triton_secret: Annotated[str | None, Option(default="")] = None
    """Secret with Triton's model-control token."""
    triton_secret_key: str = "secret"  # noqa: S105 - where it is
    """Key of that secret."""
    repository_claim: Annotated[str | None, Option(default="")] = None
    """Volume claim of Triton's model repository."""
    base_url: str = f"http://{{name}}.{{namespace}}.svc:{BASES_PORT}"
    """Where the server {name} of bases in {namespace} answers."""
    store_claim: Annotated[str | None, Option(default="")] = None
    """Volume claim with a store of bases and generators."""
    aggregator_url: str = f"http://{{name}}.{{namespace}}.svc:{METRICS_PORT}"
    """URL of aggregator {name} in {namespace}, if not its Service."""
    log_format: Format = "plain"
    """Log format of the operator and the aggregators."""
    algorithms: Annotated[tuple[str, ...], Option(name="--algorithm", several=True)] = ()
    """Algorithm that another package brings to the aggregators' image. May be repeated."""
    task_names: Literal["namespaced", "plain"] = "namespaced"
    """What devices call a task: NAMESPACE.NAME, or NAME alone."""
    trace_endpoint: Annotated[
        Annotated[str, Field(pattern="^https?://[^/]")] | None, Option(default="")
    ] = None
    """OpenTelemetry collector of the aggregators."""
    trace_sampling: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Fraction of the rounds that are traced."""
    trace_headers_secret: Annotated[str | None, Option(default="")] = None
    """Secret with headers for the collector."""
    trace_headers_key: str = "headers"
    """Key of that secret."""
    forget_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False), Option(name="--forget")] = (
        300.0
    )
    """Seconds to clean up after a deleted task."""
    interval_seconds: Annotated[Seconds, Option(name="--interval")] = 10.0
    """Seconds between two reconciliations of a task."""
    answer_seconds: Annotated[Seconds, Option(name="--answer")] = 5.0
    """Timeout, in seconds, of requests to an aggregator or Triton."""

    @model_validator(mode="after")
    def _authority(self) -> "OperatorSettings":
        if self.authority_token_file is not None and not (
            self.authority_url and self.authority_folder
        ):
            raise ValueError("authority_token_file needs authority_url and authority_folder")
        return self

    @field_validator("triton", "triton_pods")
    @classmethod
    def _place(cls, triton: str | None) -> str | None:
        if triton is not None and not _PLACE.fullmatch(triton):
            raise ValueError("is no HOST:PORT")
        return triton

    @field_validator("aggregator_url", "base_url")
    @classmethod
    def _known(cls, template: str) -> str:
        try:
            template.format(name="n", namespace="s")
        except (KeyError, IndexError, ValueError):
            raise ValueError("may hold {name} and {namespace}, no other braces") from None
        return template
