"""When the certificates that an aggregator uses expire."""

from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from edgeloop.runtime.config import BrokerSettings


def files(broker: BrokerSettings) -> dict[str, Path]:
    """Return the files with certificates, by what they are for: `authority`, `own`."""
    named = {"authority": broker.ca_file, "own": broker.certificate_file}
    return {name: path for name, path in named.items() if path is not None}


def earliest(path: Path) -> float:
    """Return when the first certificate in a file expires, in seconds since 1970.

    NaN if there is none that can be read: the file may be half replaced just now.
    """
    try:
        found = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return float("nan")
    return min(each.not_valid_after_utc for each in found).timestamp()
