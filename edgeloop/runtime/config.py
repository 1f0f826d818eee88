"""Configuration files: TOML, checked against a pydantic model, with errors that name the key."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgeloop.errors import ConfigError, choose
from edgeloop.runtime import wording

S = TypeVar("S", bound="Settings")

CONNECT_SECONDS = 10.0
"""For the first connection of whoever does not try without end."""

LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES = 4096, 16 * 2**20
"""The bounds of a packet: what everybody sends, and takes."""

PROXY = r"^(none|http://([!-9;-?A-~]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?)$"
"""An HTTP proxy, perhaps with a user; never with a password, which belongs in a file."""

PREFIX = r"^([^+#\x00$/][^+#\x00]*/)?$"
"""Levels of a topic, and the slash behind them."""

WEBSOCKET_PATH = "/mqtt"
"""Where EMQX and HiveMQ listen, and any broker that takes every path."""

Signing = Literal["required", "accepted", "off"]
"""Whether messages are signed, and what is not signed is believed."""

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Noise = Annotated[float, Field(ge=0.1, le=10_000)]
Norm = Annotated[float, Field(gt=0, le=1e6)]
Epsilon = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Option:
    """How a setting stands on a command line, where that does not follow from its type.

    In a field's `Annotated`, or in a command's own changes; `edgeloop.cli.options` reads it.

    Attributes:
        name: such as "--set"; the field's own name if empty.
        positional: whether it is a word without a name; `name` is then what help calls it.
        required: whether it must be given, though the field has a default.
        default: instead of the field's.
        unsaid: whether the field's default is not shown: what it comes to depends on others.
        several: whether the option may be repeated.
        environment: the variable that is read where the option is not given; an empty one is none.
        parse: makes the field's value of what was given.
        help: instead of the field's description.
    """

    name: str = ""
    positional: bool = False
    required: bool = False
    default: Any = None
    unsaid: bool = False
    several: bool = False
    environment: str = ""
    parse: Callable[[Any], Any] | None = None
    help: str = ""


class Settings(BaseModel):
    """Settings, each declared once: its type and range, its default, and below it what it is.

    A table of a configuration file and the options of a command are made from it; an unknown key
    is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: object, about: ValidationInfo) -> object:
        """Refuse a path without letters, which would be the folder that the command runs in."""
        field = cls.model_fields.get(about.field_name or "")
        empty = value == "" or (isinstance(value, str) and "\0" in value)
        if empty and field is not None and Path in parts(field.annotation):
            raise ValueError("names no file and no folder")
        return value


class BrokerSettings(Settings):
    """The `[broker]` table, the same for the aggregator and the agents.

    Attributes:
        host: host of the MQTT 5 broker.
        port: port of the broker.
        username: user name at the broker, if it needs one.
        password_file: file whose first line is the password.
        ca_file: certificates of the authorities that may have signed the broker's certificate, PEM.
            With it the connection uses TLS; without it the connection is not encrypted.
        certificate_file: this client's certificate and its chain, PEM, if the broker needs one.
        key_file: private key of the certificate, PEM, without a passphrase.
        connect_seconds: seconds after which the first connection is given up; if not given, an
            agent never gives up, and all other parts wait `CONNECT_SECONDS`.
        chunk_bytes: largest packet to send, unless the broker's own limit is lower.
        transport: "tcp", or "websockets" for a broker that is reached by HTTP.
        path: path of the websocket, such as "/mqtt".
        alpn: ALPN protocol of the TLS connection, for a broker that shares port 443 with others.
        proxy: HTTP proxy to the broker, "http://[user@]host:port", or "none". If not given, the
            environment's https_proxy is used, unless no_proxy names the broker.
        proxy_password_file: file whose first line is the proxy's password.
        signatures: whether messages are signed, and checked against the authority: "required",
            "accepted" (unsigned messages are accepted, too) or "off". If not given, "required"
            where devices_file is given or the device has enrolled.
        devices_file: for an aggregator: certificate of the authority that signs devices, PEM.
        revoked_files: lists of revoked certificates, PEM; read again when they change.
        prefix: prefix of all topics, such as "plant-3/".
        client_id_prefix: prefix of all client ids.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    connect_seconds: Seconds | None = None
    chunk_bytes: Annotated[int, Field(ge=LEAST_CHUNK_BYTES, le=MOST_CHUNK_BYTES)] = 262_144
    transport: Literal["tcp", "websockets"] = "tcp"
    path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=1024)] = WEBSOCKET_PATH
    alpn: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=255)] | None = None
    proxy: Annotated[str, Field(pattern=PROXY)] | None = None
    proxy_password_file: Path | None = None
    signatures: Signing | None = None
    devices_file: Path | None = None
    revoked_files: tuple[Path, ...] = ()
    prefix: Annotated[str, Field(pattern=PREFIX, max_length=256)] = ""
    client_id_prefix: Annotated[str, Field(pattern=r"^[!-~]*$", max_length=64)] = ""

    @model_validator(mode="after")
    def _consistent(self) -> "BrokerSettings":
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.certificate_file is not None and self.ca_file is None:
            raise ValueError("certificate_file needs ca_file, or there is no TLS to show it in")
        if self.alpn is not None and self.ca_file is None:
            raise ValueError("alpn needs ca_file, or there is no TLS to ask in")
        if self.path != WEBSOCKET_PATH and self.transport == "tcp":
            raise ValueError('path is a websocket\'s: give transport = "websockets" as well')
        if self.proxy_password_file is not None and "@" not in (self.proxy or ""):
            raise ValueError('proxy_password_file needs a user: proxy = "http://user@host:port"')
        return self

    @property
    def signing(self) -> Signing:
        """Return whether messages are signed and checked."""
        if self.signatures is not None:
            return self.signatures
        return "off" if self.devices_file is None else "required"

    @property
    def connect_timeout(self) -> float:
        """Return for how long to try the first connection, unless without end."""
        return CONNECT_SECONDS if self.connect_seconds is None else self.connect_seconds

    @property
    def address(self) -> str:
        """Return the broker's address as a person writes it."""
        return f"{self.host}:{self.port}"


class PrivacySettings(Settings):
    """The `[privacy]` table: how much noise is in what clients send; see `edgeloop.privacy.dp_sgd`.

    The noises are sigma, `clip` C and `prototype_clip` S there.
    """

    noise: Noise = 1.0
    """Noise in each training step's summed gradient, in multiples of clip."""
    clip: Norm = 1.0
    """Largest norm of one sample's gradient."""
    prototype_noise: Noise = 10.0
    """Noise in the classes' sums and counts, in multiples of what one sample can change."""
    prototype_clip: Norm = 1.0
    """Largest norm of one sample's features."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability that the guarantee fails; well below 1 / (number of a device's samples)."""
    epsilon: Epsilon | None = None
    """Privacy budget; a device that would exceed it only evaluates. Unlimited if not given."""


def read(path: Path, kind: type[S]) -> S:
    """Read a configuration file.

    Raises:
        ConfigError: if it cannot be read, or a key or a value is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            str(path), "there is no such file", "give the path of a TOML file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "give a readable file") from error
    except RecursionError as error:
        raise ConfigError(str(path), "is nested too deeply", "take brackets out") from error
    except ValueError as error:  # of tomllib, or of a number with thousands of digits
        raise ConfigError(str(path), f"is no TOML ({error})", "fix the line it names") from error
    return parse(table, kind, str(path))


def first_line(path: Path, field: str) -> str:
    """Return a file's first line, where a secret is.

    Raises:
        ConfigError: naming the field, if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(field, f"cannot be read ({error})", "give a readable file") from error


def parse(table: dict[str, Any], kind: type[S], source: str) -> S:
    """Check a table against a model.

    Raises:
        ConfigError: naming the first wrong key, and the one that was probably meant.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        place, problem, remedy = wording.first_finding(error.errors())
        path = ".".join(map(str, place))
        where = f"{source}: {path}" if path else source
        raise ConfigError(where, problem, _of_keys(kind, error, place) or remedy) from error


def _of_keys(
    kind: type[BaseModel], error: ValidationError, place: tuple[str | int, ...]
) -> str | None:
    """Return what to do about a key that is missing, or is none; None where a value is wrong."""
    sort = error.errors()[0]["type"]
    if sort == "missing":
        return f"add {place[-1]}"
    if sort != "extra_forbidden":
        return None
    *tables, key = place
    fields = _fields(kind, tables)
    meant = choose(key, fields)
    if fields and not meant.startswith("did"):
        return f"the keys here are {', '.join(fields)}"
    return meant


def _fields(kind: type[BaseModel] | None, tables: list[Any]) -> list[str]:
    """Return the keys that a table within a model may have; none where that is not known."""
    for table in tables:
        if kind is not None and not isinstance(table, int):  # numbers tell tables of a list apart
            field = kind.model_fields.get(str(table))
            kind = None if field is None else _model(field.annotation)
    return [] if kind is None else list(kind.model_fields)


def _model(annotation: object) -> type[BaseModel] | None:
    """Return the model in an annotation such as `PrivacySettings | None`."""
    models = (each for each in parts(annotation) if isinstance(each, type))
    return next((each for each in models if issubclass(each, BaseModel)), None)


def parts(annotation: object) -> list[object]:
    """Return an annotation, and all that it is made of."""
    return [annotation, *(part for each in get_args(annotation) for part in parts(each))]


def has_words(annotation: object) -> bool:
    """Return whether an annotation has a `Literal` in it: words, of which a value is one."""
    return any(get_origin(each) is Literal for each in parts(annotation))
