"""The way through an HTTP proxy: which one, and its CONNECT."""

import base64
import ipaddress
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass

from edgeloop.runtime.config import BrokerSettings

MOST_ANSWER = 16 * 1024
"""Bytes of a proxy's answer before the tunnel."""

_DEFAULT_PORT = 3128

_REMEDIES = {
    401: "check the user in proxy, and proxy_password_file",
    403: "have the proxy let this machine through to the broker, or give a port it allows: 443",
    407: "give the proxy's user in proxy, and its password in proxy_password_file",
    502: "check host and port, as the proxy sees them",
    503: "check host and port, as the proxy sees them",
    504: "check host and port, as the proxy sees them",
}


class ProxyError(ConnectionError):
    """A proxy does not lead to the broker.

    Attributes:
        remedy: what to do, an imperative clause.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        host: its name or address.
        port: where it listens.
        user: if it wants one.
        source: the setting, or the variable of the environment, that names it.
        password: of the user, where the environment has it.
    """

    host: str
    port: int
    source: str
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port} (by {self.source})"


def chosen(broker: BrokerSettings) -> Proxy | None:
    """Return the proxy on the way to a broker; None where there is none.

    The settings have the first word, the environment the second; nobody asks a proxy for this
    machine itself.
    """
    if broker.proxy == "none":
        return None
    if broker.proxy is not None:
        return _parsed(broker.proxy, "broker.proxy")
    if _is_loopback(broker.host) or urllib.request.proxy_bypass(broker.host):
        return None
    found = urllib.request.getproxies_environment().get("https")
    return None if not found else _parsed(found, "https_proxy")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(url: str, source: str) -> Proxy | None:
    """Return what a URL names; None for what is no HTTP proxy, such as a SOCKS one."""
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or _DEFAULT_PORT
    except ValueError:
        return None
    if parts.scheme != "http" or not parts.hostname:
        return None
    user = None if parts.username is None else urllib.parse.unquote(parts.username)
    password = None if parts.password is None else urllib.parse.unquote(parts.password)
    return Proxy(parts.hostname, port, source, user, password)


def tunnel(
    proxy: Proxy, host: str, port: int, timeout: float, password: str | None
) -> socket.socket:
    """Return a connection to a host, through a proxy.

    Args:
        proxy: that is on the way.
        host: the broker's name, which the proxy looks up.
        port: the broker's.
        timeout: seconds for the proxy to answer.
        password: of the proxy's user.

    Raises:
        ProxyError: if the proxy cannot be reached, or does not lead there.
    """
    try:
        connection = socket.create_connection((proxy.host, proxy.port), timeout)
    except OSError as error:
        problem = f"{proxy} cannot be reached ({error.strerror or error})"
        remedy = 'check proxy, or give proxy = "none" where there is no need of one'
        raise ProxyError(problem, remedy) from error
    try:
        connection.sendall(_request(proxy, host, port, password))
        _check_answer(proxy, _head_of(connection, proxy))
    except BaseException:
        connection.close()
        raise
    return connection


def _request(proxy: Proxy, host: str, port: int, password: str | None) -> bytes:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.user is not None:
        known = f"{proxy.user}:{password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(known).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _head_of(connection: socket.socket, proxy: Proxy) -> bytes:
    """Return a proxy's answer, up to where the broker's own bytes begin."""
    found = bytearray()
    try:
        while not found.endswith(b"\r\n\r\n") and len(found) < MOST_ANSWER:
            byte = connection.recv(1)
            if not byte:
                break
            found += byte
    except TimeoutError as error:
        raise ProxyError(f"{proxy} does not answer", "check that it is an HTTP proxy") from error
    except OSError:  # it cuts the connection: there is no answer
        return b""
    return bytes(found)


def _check_answer(proxy: Proxy, head: bytes) -> None:
    line = head.split(b"\r\n")[0].decode("ascii", "replace")
    version, _, rest = line.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
        raise ProxyError(f"{proxy} does not answer in HTTP", "check that it is an HTTP proxy")
    if not 200 <= int(code) < 300:
        remedy = _REMEDIES.get(int(code), "see the proxy's log")
        raise ProxyError(f"{proxy} does not lead there ({rest.strip()[:80]!r})", remedy)
