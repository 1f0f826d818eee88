"""TLS for a client of the broker: whom it trusts, and the certificate that it shows."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from edgeloop.errors import BrokerError
from edgeloop.settings import BrokerSettings


class _Socket(ssl.SSLSocket):
    """Closes itself when its handshake fails, which paho forgets to do."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # to be gone on with
            raise
        except OSError:
            self.close()
            raise


class Identity:
    """What a client needs for TLS; read anew before each connection, since certificates expire.

    Args:
        broker: with a `ca_file`.

    Attributes:
        context: TLS 1.2 or newer, the broker's name checked.

    Raises:
        BrokerError: if a file cannot be read, or holds no certificate or key.
    """

    def __init__(self, broker: BrokerSettings) -> None:
        self._broker = broker
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.sslsocket_class = _Socket
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.renew()

    def renew(self) -> None:
        """Take what the files hold now; the connections that are up go on as they are.

        Raises:
            BrokerError: as at the start; what was read before then stays.
        """
        broker = self._broker
        with _told("broker.ca_file", "give the authorities' certificates, PEM"):
            self.context.load_verify_locations(cafile=broker.ca_file)
        if broker.certificate_file is not None and broker.key_file is not None:
            remedy = "give a certificate and its own key, PEM, without a passphrase"
            with _told("broker.certificate_file, broker.key_file", remedy):
                self.context.load_cert_chain(broker.certificate_file, broker.key_file, password="")


@contextmanager
def _told(field: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # an SSLError is one
        raise BrokerError(field, f"cannot be used ({error})", remedy) from error
