"""What an operator is told by its flags and its environment."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from edgeloop.runtime.config import Port, Seconds, Settings
from edgeloop.runtime.logs import Format

METRICS_PORT = 9464
"""Where an aggregator tells its metrics, its health and its status."""

BASES_PORT = 9466
"""Where a Base's server answers."""

_PLACE = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")


class OperatorSettings(Settings):
    """What the operator makes aggregators from.

    Attributes:
        namespaces: that it looks after.
        aggregator_image: of the aggregators' pods.
        generator_image: of the jobs that write generators into the model repository, and of the
            servers of bases.
        pull_policy: of both images.
        pull_secrets: that both images need.
        broker_host: of the MQTT broker that tasks use if they name none.
        broker_port: of its listener.
        broker_secret: in a task's namespace, with ca.crt, tls.crt and tls.key; None for plain MQTT.
        broker_client_certificates: whether aggregators show theirs, or only check the broker's.
        broker_username: if the broker wants one.
        broker_password_secret: in a task's namespace, with the password, if the broker wants one.
        broker_password_key: of the secret.
        database_secret: in a task's namespace, with a PostgreSQL URL, for tasks that name no store;
            None for SQLite on the task's volume.
        database_key: of the secret.
        triton: host and gRPC port of the Triton server; None if there is none.
        triton_pods: the same with a name of all its pods' addresses, where there are several.
        triton_secret: in a Generator's namespace, with what the server asks of whoever controls it.
        triton_secret_key: of the secret.
        repository_claim: the volume claim with Triton's model repository.
        base_url: where a Base's server answers, with {name} and {namespace} of its Service;
            aggregators are told it, too.
        store_claim: a volume claim in a Base's namespace with a store of bases and generators
            (`EDGELOOP_HOME`); None if there is only what is in the image.
        aggregator_url: where an aggregator answers, with {name} and {namespace} of its Service.
        log_format: of the pods that it makes.
        trace_endpoint: of the OpenTelemetry collector of the pods that it makes; None for none.
        trace_sampling: the share of their rounds that are traced.
        trace_headers_secret: in a task's namespace, with headers for the collector.
        trace_headers_key: of the secret.
        forget_seconds: that the job may take which takes back what a deleted task leaves.
        interval_seconds: between two looks at a task.
        answer_seconds: that an aggregator or a Triton server may take to answer.
    """

    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    aggregator_image: Annotated[str, Field(min_length=1)]
    generator_image: str = ""
    pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)$")] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    broker_host: Annotated[str, Field(min_length=1)]
    broker_port: Port = 8883
    broker_secret: str | None = None
    broker_client_certificates: bool = True
    broker_username: str | None = None
    broker_password_secret: str | None = None
    broker_password_key: str = "password"  # noqa: S105 - where it is
    database_secret: str | None = None
    database_key: str = "url"
    triton: str | None = None
    triton_pods: str | None = None
    triton_secret: str | None = None
    triton_secret_key: str = "secret"  # noqa: S105 - where it is
    repository_claim: str | None = None
    base_url: str = f"http://{{name}}.{{namespace}}.svc:{BASES_PORT}"
    store_claim: str | None = None
    aggregator_url: str = f"http://{{name}}.{{namespace}}.svc:{METRICS_PORT}"
    log_format: Format = "plain"
    trace_endpoint: Annotated[str, Field(pattern="^https?://[^/]")] | None = None
    trace_sampling: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    trace_headers_secret: str | None = None
    trace_headers_key: str = "headers"
    forget_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 300.0
    interval_seconds: Seconds = 10.0
    answer_seconds: Seconds = 5.0

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
