"""Compares the machine's clock with its authority's: a broker tells no time, an authority does."""

import http.client
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from edge.agent.authority_client import Place
from edge.device.findings import Finding, error, note, ok, warning

SECONDS = 5.0
"""For the authority to answer."""

GOOD_SECONDS, MOST_SECONDS = 30.0, 600.0
"""How far apart they may be, and from when on certificates and receipts may be refused."""


def look_at_authoritys_clock(place: Place, now: Callable[[], float] = time.time) -> Finding:
    """Look how far the machine's clock is from its authority's.

    The authority's certificate is not checked: a clock that is wrong would refuse it.

    Args:
        place: of the authority.
        now: the machine's clock, seconds since 1970.
    """
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        place.host, place.port, timeout=SECONDS, context=unchecked
    )
    try:
        connection.request("GET", "/healthz")
        said = connection.getresponse().headers.get("date", "")
        away = now() - parsedate_to_datetime(said).timestamp()
    except (OSError, http.client.HTTPException):
        return note("clock", f"not compared: {place.url} does not answer")
    except ValueError:
        return note("clock", f"not compared: {place.url} tells no time")
    finally:
        connection.close()
    return judged(away, place.url)


def judged(away: float, whose: str) -> Finding:
    """Say what it means to be so many seconds away; positive is ahead."""
    found = f"{abs(away):.0f} s {'ahead of' if away > 0 else 'behind'} {whose}"
    remedy = "set it: timedatectl set-ntp true"
    if abs(away) > MOST_SECONDS:
        return error("clock", f"{found}: certificates may not hold", remedy)
    if abs(away) > GOOD_SECONDS:
        return warning("clock", found, remedy)
    return ok("clock", f"within {GOOD_SECONDS:.0f} s of {whose}")
