"""Asks an authority over HTTPS: whom to trust, for a certificate, and for the next one."""

import hashlib
import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeloop.errors import ConfigError, InputError, UnavailableError

SECONDS = 20.0
"""For an answer."""

MOST_ANSWER = 256 * 1024

_FINGERPRINT = re.compile("(sha256:)?([0-9a-fA-F]{2}:?){32}")


class AuthorityError(InputError):
    """The authority refuses this device."""


class AuthorityAwayError(UnavailableError):
    """The authority cannot be reached, or cannot answer now."""


class Place(NamedTuple):
    """Where an authority is.

    Attributes:
        host: its name or address.
        port: of HTTPS.
    """

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Place":
        """Return the place that a URL names.

        Raises:
            ConfigError: if it is none of HTTPS.
        """
        remedy = "write it like https://authority.example:8443"
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port or 443
        except ValueError as error:
            raise ConfigError("--server", f"{url!r} is no URL", remedy) from error
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigError("--server", f"{url!r} is no URL of an authority", remedy)
        return cls(parts.hostname, port)

    @property
    def url(self) -> str:
        """The place as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def pinned(place: Place, fingerprint: str) -> str:
    """Return the authority's certificate, PEM, if it is the one of a fingerprint.

    The first answer comes over a connection that nothing vouches for, and is only looked at: it has
    the certificate of that fingerprint, or it is refused.

    Raises:
        ConfigError: if the fingerprint is none.
        AuthorityError: if the authority shows another one.
        AuthorityAwayError: if it does not answer.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        remedy = "give what edgeloop ca init printed: sha256: and 64 digits"
        raise ConfigError("--ca-fingerprint", "is no SHA-256", remedy)
    wanted = fingerprint.removeprefix("sha256:").replace(":", "").lower()
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    found = str(_ask(place, unchecked, "GET", "/v1/authorities").get("services", ""))
    try:
        shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(found)).hexdigest()
    except ValueError:
        shown = ""
    if shown != wanted:
        problem = f"shows another authority (sha256:{shown or '-'})"
        remedy = "check --server and --ca-fingerprint: it may be somebody in between"
        raise AuthorityError(place.url, problem, remedy)
    return found


def ask(
    place: Place,
    authority: str,
    path: str,
    question: Mapping[str, str],
    certificate: tuple[Path, Path] | None = None,
) -> Mapping[str, Any]:
    """Ask an authority something; return what it answers.

    Args:
        place: where it is.
        authority: whose certificate its own must come from, PEM.
        path: what is asked.
        question: with it.
        certificate: files of this device's certificate and key, to show.

    Raises:
        AuthorityError: if it refuses.
        AuthorityAwayError: if it does not answer, or cannot now.
        ConfigError: if the device's own files cannot be used.
    """
    context = _context(authority)
    try:
        if certificate is not None:
            context.load_cert_chain(*certificate, password="")
    except OSError as error:  # an SSLError is one
        remedy = "enrol again, into a new folder"
        raise ConfigError(
            "the device's certificates", f"cannot be used ({error})", remedy
        ) from error
    return _ask(place, context, "POST", path, json.dumps(dict(question)))


def fetch(place: Place, authority: str, path: str) -> bytes:
    """Return what an authority tells everybody.

    Args:
        place: where it is.
        authority: whose certificate its own must come from, PEM.
        path: what is asked.

    Raises:
        AuthorityError: if it is another one.
        AuthorityAwayError: if it does not answer, or cannot now.
        ConfigError: if the certificate cannot be used.
    """
    code, content = _answer(place, _context(authority), "GET", path)
    if code != 200:
        problem = f"does not tell {path} (HTTP {code})"
        raise AuthorityAwayError(place.url, problem, "see its log")
    return content


def _context(authority: str) -> ssl.SSLContext:
    """Return TLS that trusts an authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=authority)
    except (OSError, ValueError) as error:
        problem = f"cannot be used ({error})"
        remedy = "give the services.crt of edgeloop ca init, PEM"
        raise ConfigError("the authority's certificate", problem, remedy) from error
    return context


def _ask(
    place: Place, context: ssl.SSLContext, method: str, path: str, body: str | None = None
) -> Mapping[str, Any]:
    return _read(place, *_answer(place, context, method, path, body))


def _answer(
    place: Place, context: ssl.SSLContext, method: str, path: str, body: str | None = None
) -> tuple[int, bytes]:
    """Return an answer's code and content."""
    connection = http.client.HTTPSConnection(*place, timeout=SECONDS, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_ANSWER)
    except ssl.SSLCertVerificationError as error:
        problem = f"does not hold ({error.verify_message})"
        remedy = "check --server, and this machine's clock"
        raise AuthorityError(f"the certificate of {place.url}", problem, remedy) from error
    except (OSError, http.client.HTTPException) as error:
        problem = f"does not answer ({error})"
        raise AuthorityAwayError(place.url, problem, "check that it runs there") from error
    finally:
        connection.close()


def _read(place: Place, code: int, content: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        problem = f"gives no answer of an authority (HTTP {code})"
        raise AuthorityAwayError(place.url, problem, "check --server")
    if code == 200:
        return told
    field, problem = str(told.get("field", place.url)), str(told.get("problem", f"HTTP {code}"))
    remedy = str(told.get("remedy", "ask who runs the authority"))
    if code >= 500 or code == 429:
        raise AuthorityAwayError(field[:200], problem[:500], remedy[:200])
    raise AuthorityError(field[:200], problem[:500], remedy[:200])
