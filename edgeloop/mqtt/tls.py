"""TLS for a client of the broker: whom it trusts, and the certificate that it shows."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from edgeloop.errors import BrokerSetupError
from edgeloop.runtime.config import BrokerSettings

NOT_YET, EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED
LOOK_SECONDS = 5.0

_TIME = rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)"
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22]" + _TIME + _TIME)  # as DER writes the two times


class _Socket(ssl.SSLSocket):
    """Closes itself when its handshake fails, which paho forgets to do."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # to be continued
            raise
        except OSError:
            self.close()
            raise


class Identity:
    """What a client needs for TLS; read again before each connection, since certificates expire.

    Args:
        broker: with a `ca_file`.

    Attributes:
        context: TLS 1.2 or newer, the broker's name checked.

    Raises:
        BrokerSetupError: if a file cannot be read, or holds no certificate or key, or this
            client's own certificate does not hold now.
    """

    def __init__(self, broker: BrokerSettings) -> None:
        self._broker = broker
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.sslsocket_class = _Socket
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.renew()

    def renew(self) -> None:
        """Take what the files hold now; the connections that are up continue as they are.

        Raises:
            BrokerSetupError: as at the start; a file that cannot be used leaves what was read
                before.
        """
        broker = self._broker
        with _named_error("broker.ca_file", "give the authorities' certificates, PEM"):
            self.context.load_verify_locations(cafile=broker.ca_file)
        if broker.certificate_file is not None and broker.key_file is not None:
            remedy = "give a certificate and its own key, PEM, without a passphrase"
            with _named_error("broker.certificate_file, broker.key_file", remedy):
                self.context.load_cert_chain(broker.certificate_file, broker.key_file, password="")
            self._check_dates(broker.certificate_file)

    def _check_dates(self, file: Path) -> None:
        wrong = check_dates(file.read_text(encoding="utf-8", errors="replace"), datetime.now(UTC))
        if wrong is not None:
            raise BrokerSetupError("broker.certificate_file", *wrong)


@contextmanager
def _named_error(field: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # an SSLError is one
        raise BrokerSetupError(field, f"cannot be used ({error})", remedy) from error


def validity(pem: str) -> tuple[datetime, datetime] | None:
    """Return from when to when the first certificate in a PEM text holds; None if it is none."""
    block = re.search(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", pem, re.DOTALL)
    try:
        found = block and _VALIDITY.search(ssl.PEM_cert_to_DER_cert(block[0]))
        if not found:
            return None
        first, last = found[1] or found[2], found[3] or found[4]
        return _time(first.decode()), _time(last.decode())
    except ValueError:  # no base64, no such day
        return None


def _time(digits: str) -> datetime:
    if len(digits) == 12:  # as the standard says, years of two digits end in 2049
        digits = ("19" if digits >= "5" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def check_dates(pem: str, now: datetime) -> tuple[str, str] | None:
    """Say what is wrong with the dates of the first certificate in a PEM text, and the remedy."""
    dates = validity(pem)
    if dates is None or dates[0] <= now <= dates[1]:
        return None
    clock = f"this machine's clock says {_written(now)}"
    if now < dates[0]:
        problem = f"is not yet valid: it holds from {_written(dates[0])}, and {clock}"
        return problem, "set the clock, or give a certificate that holds now"
    problem = f"has expired: it held until {_written(dates[1])}, and {clock}"
    return problem, "renew it, or set the clock"


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def verification_problem(
    broker: BrokerSettings, error: ssl.SSLCertVerificationError
) -> tuple[str, str]:
    """Say why the broker's certificate does not hold, and the remedy."""
    if error.verify_code not in (NOT_YET, EXPIRED):
        problem = f"shows a certificate that does not hold ({error.verify_message})"
        return problem, "check host, or give its authority's certificate as ca_file"
    now = datetime.now(UTC)
    for whose, pem in _shown(broker):
        if wrong := check_dates(pem, now):
            return f"shows a certificate that does not hold: {whose} {wrong[0]}", wrong[1]
    problem = f"shows a certificate that does not hold ({error.verify_message});"
    problem += f" this machine's clock says {_written(now)}"
    return problem, "set the clock, or renew the certificate"


def _shown(broker: BrokerSettings) -> Iterator[tuple[str, str]]:
    """Yield the certificates that may be meant: the broker's own, and its authority's."""
    with suppress(OSError):  # of a broker that takes no second connection
        yield "it", ssl.get_server_certificate((broker.host, broker.port), timeout=LOOK_SECONDS)
    if broker.ca_file is not None:
        with suppress(OSError):  # of a file that is just being replaced
            yield "its authority's", broker.ca_file.read_text(encoding="utf-8", errors="replace")
