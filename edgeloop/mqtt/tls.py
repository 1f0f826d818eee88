"""TLS for a client of the broker: whom it trusts, and the certificate that it shows."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from edgeloop.errors import BrokerSetupError
from edgeloop.runtime.config import BrokerSettings

_TIME = rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)"
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22]" + _TIME + _TIME)  # as DER writes the two times


class DatesError(ConnectionError):
    """This client's own certificate does not hold now; time, or who renews it, can help.

    Attributes:
        remedy: what to do, an imperative clause.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


class _Socket(ssl.SSLSocket):
    """Closes itself when its handshake fails, and keeps the other side's alert: paho does neither.

    From TLS 1.3 on a broker that refuses a client's certificate says so after the handshake.
    """

    alert: ssl.SSLError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # to be continued
            raise
        except ssl.SSLError as error:
            self.alert = error
            raise

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
        BrokerSetupError: if a file cannot be read, or holds no certificate or key.
    """

    def __init__(self, broker: BrokerSettings) -> None:
        self._broker = broker
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.sslsocket_class = _Socket
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.alpn is not None:
            self.context.set_alpn_protocols([broker.alpn])
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

    def check_dates(self) -> None:
        """Refuse a certificate of this client's own that does not hold now.

        Raises:
            DatesError: if it is not yet valid, or has expired, by this machine's clock.
        """
        if (file := self._broker.certificate_file) is None:
            return
        with _named_error("broker.certificate_file", "give a readable file"):
            pem = file.read_text(encoding="utf-8", errors="replace")
        if wrong := check_dates(pem, datetime.now(UTC)):
            raise DatesError(*wrong)


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
    clock = f"this machine's clock says {written(now)}"
    if now < dates[0]:
        problem = f"is not yet valid: it holds from {written(dates[0])}, and {clock}"
        return problem, "set the clock, or give a certificate that holds now"
    problem = f"has expired: it held until {written(dates[1])}, and {clock}"
    return problem, "renew it, or set the clock"


def written(time: datetime) -> str:
    """Return a time as a person reads it, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"
