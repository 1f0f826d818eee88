"""Why an attempt to reach a broker failed: TLS, a proxy, a websocket, the network."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from paho.mqtt.client import WebsocketConnectionError

from edgeloop.errors import BrokerAwayError, BrokerError, BrokerSetupError
from edgeloop.mqtt.proxy import ProxyError, chosen
from edgeloop.mqtt.tls import DatesError, check_dates, written
from edgeloop.mqtt.trouble import broker_error
from edgeloop.runtime.config import BrokerSettings

NOT_YET, EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED
REVOKED, OTHER_HOST, OTHER_ADDRESS = 23, 62, 64  # _CERT_REVOKED, _HOSTNAME_MISMATCH, _IP_ADDRESS_
LOOK_SECONDS = 5.0

OWN = "certificate_file"

_TLS: dict[str, tuple[str, str]] = {  # OpenSSL's words for a failure -> the problem, the remedy
    "CERTIFICATE_REQUIRED": (
        "wants a certificate of this client",
        "give certificate_file and key_file",
    ),
    "HANDSHAKE_FAILURE": (
        "agrees to no TLS with this client",
        "give certificate_file and key_file if it wants them, or see the broker's log",
    ),
    "CERTIFICATE_EXPIRED": (
        f"says that {OWN} has expired",
        "renew it, or set the broker's clock",
    ),
    "CERTIFICATE_REVOKED": (f"says that {OWN} is revoked", "have another one made for this device"),
    "UNKNOWN_CA": (
        f"does not know the authority of {OWN}",
        "give one of an authority that the broker trusts, with its chain",
    ),
    "BAD_CERTIFICATE": (f"does not accept {OWN}", "give one that is made for clients"),
    "UNSUPPORTED_CERTIFICATE": (f"does not accept {OWN}", "give one that is made for clients"),
    "CERTIFICATE_UNKNOWN": (f"does not accept {OWN}", "see the broker's log"),
    "ACCESS_DENIED": (f"does not let {OWN} in", "see the broker's log"),
    "DECRYPT_ERROR": (f"cannot check {OWN}", "give a certificate and its own key"),
    "NO_APPLICATION_PROTOCOL": (
        "does not speak what alpn asks for",
        "give alpn as the broker's owner says, or none",
    ),
    "UNRECOGNIZED_NAME": ("does not know its own name", "give as host what its certificate names"),
    "UNSUPPORTED_PROTOCOL": (
        "speaks an old TLS only",
        "have it speak TLS 1.2 or newer",
    ),
    "PROTOCOL_VERSION": ("speaks an old TLS only", "have it speak TLS 1.2 or newer"),
    "WRONG_VERSION_NUMBER": (
        "cannot be reached: does not speak TLS on this port",
        "give the port of its TLS listener, often 8883, or take ca_file away",
    ),
}
_AUTHORITY = "check host, or give its authority's certificate as ca_file"
_OTHER = "give as host what the certificate names, or have it name this host"
_VERIFYING = {
    REVOKED: "have the broker's owner put another one in its place",
    OTHER_HOST: _OTHER,
    OTHER_ADDRESS: _OTHER,
}
_NO_TLS = _TLS["WRONG_VERSION_NUMBER"]
_ANSWERS = ("HTTP_REQUEST", "UNEXPECTED_EOF", "EOF occurred")  # of who does not speak TLS


class Failure(NamedTuple):
    """What an attempt failed by.

    Attributes:
        error: for a person.
        passing: whether time can help.
    """

    error: BrokerError
    passing: bool = True


def explain(broker: BrokerSettings, error: OSError | UnicodeError) -> Failure:
    """Say why a broker was not reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        problem, remedy = verification_problem(broker, error)
        dates = error.verify_code in (NOT_YET, EXPIRED)
        return Failure(broker_error(broker, problem, remedy, BrokerSetupError), passing=dates)
    if isinstance(error, DatesError):
        return Failure(BrokerSetupError("broker.certificate_file", str(error), error.remedy))
    if isinstance(error, ssl.SSLError | ConnectionResetError) and broker.ca_file is not None:
        return Failure(tls_error(broker, error))
    if isinstance(error, UnicodeError):
        problem = f"cannot be reached ({error})"
        return Failure(broker_error(broker, problem, "check host", BrokerSetupError))
    problem = f"cannot be reached ({error.strerror or error})"
    return Failure(broker_error(broker, problem, _remedy(broker, error)))


def _remedy(broker: BrokerSettings, error: OSError) -> str:
    if isinstance(error, ProxyError):
        return error.remedy
    if isinstance(error, WebsocketConnectionError):
        return "check path, and that it speaks websockets on this port"
    if isinstance(error, socket.gaierror):
        return "check host, and this machine's DNS"
    if broker.transport == "websockets" and isinstance(error, TimeoutError):
        return "start it, or check host and port, and that it speaks websockets there"
    return "start it, or check host and port"


def tls_error(broker: BrokerSettings, error: OSError) -> BrokerError:
    """Say what a failure of TLS means; of one that is not known, OpenSSL's words."""
    said = f"{getattr(error, 'reason', None) or ''} {error}"
    found = next((words for key, words in _TLS.items() if key in said), None)
    if found is None and (isinstance(error, ConnectionResetError) or _is_answer(said)):
        found = _NO_TLS
    if found is None:
        found = "cannot be reached", "see the broker's log"
    problem, remedy = found
    words = getattr(error, "reason", None)
    why = error.strerror or error if words is None else words.replace("_", " ").lower()
    return broker_error(broker, f"{problem} ({why})", remedy, BrokerAwayError)


def _is_answer(said: str) -> bool:
    return any(each in said for each in _ANSWERS)


def verification_problem(
    broker: BrokerSettings, error: ssl.SSLCertVerificationError
) -> tuple[str, str]:
    """Say why the broker's certificate does not hold, and the remedy."""
    if error.verify_code not in (NOT_YET, EXPIRED):
        problem = f"shows a certificate that does not hold ({error.verify_message})"
        return problem, _VERIFYING.get(error.verify_code, _AUTHORITY)
    now = datetime.now(UTC)
    for whose, pem in _shown(broker):
        if wrong := check_dates(pem, now):
            return f"shows a certificate that does not hold: {whose} {wrong[0]}", wrong[1]
    problem = f"shows a certificate that does not hold ({error.verify_message});"
    problem += f" this machine's clock says {written(now)}"
    return problem, "set the clock, or renew the certificate"


def _shown(broker: BrokerSettings) -> Iterator[tuple[str, str]]:
    """Yield the certificates that may be meant: the broker's own, and its authority's."""
    if chosen(broker) is None:
        with suppress(OSError):  # of a broker that takes no second connection
            place = broker.host, broker.port
            yield "it", ssl.get_server_certificate(place, timeout=LOOK_SECONDS)
    if broker.ca_file is not None:
        with suppress(OSError):  # of a file that is just being replaced
            yield "its authority's", broker.ca_file.read_text(encoding="utf-8", errors="replace")
