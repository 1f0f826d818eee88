"""Asks an authority elsewhere for a token, over HTTPS, as an operator."""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from cloud.authority.tokens import Admission
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import first_line

ANSWER_SECONDS = 20.0
MOST_ANSWER = 64 * 1024


def make_token(server: str, ca_file: Path, token_file: Path, admission: Admission) -> str:
    """Have a token made; return its text.

    Args:
        server: URL of the authority.
        ca_file: certificate of the authority of services, PEM.
        token_file: with an operator's token for HTTPS.
        admission: what the token is to allow.

    Raises:
        ConfigError: if a file cannot be used, or the authority refuses.
        UnavailableError: if it does not answer as one does.
    """
    if not server.startswith("https://"):
        raise ConfigError("--server", "is no URL of HTTPS", "write it like https://host:8443")
    asked = {
        "task": admission.task,
        "names": admission.names,
        "uses": admission.uses,
        "hours": admission.life.total_seconds() / 3600,
        "labels": dict(admission.labels),
    }
    shown = first_line(token_file, "--token-file").strip()
    headers = {"Authorization": f"Bearer {shown}", "Content-Type": "application/json"}
    url, body = f"{server.rstrip('/')}/v1/tokens", json.dumps(asked).encode()
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
    try:
        context = _trusting(ca_file)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=context) as answer:  # noqa: S310
            return str(atomic_files.parse_json(answer.read(MOST_ANSWER))["token"])
    except urllib.error.HTTPError as error:
        problem = f"answers {error.code}: {_problem(error)}"
        raise ConfigError(server, problem, "see --token-file (an operator's) and --task") from error
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UnavailableError(server, f"makes no token ({error})", "see to it") from error


def _trusting(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authority))
    except OSError as error:  # an SSLError is one
        problem = f"{authority} cannot be used ({error})"
        raise ConfigError("--ca-file", problem, "give the authority's services.crt") from error


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        told = atomic_files.parse_json(error.read(MOST_ANSWER))
        return f"{told['field']} {told['problem']}"[:300]
    except (OSError, LookupError, TypeError, ValueError):
        return str(error.reason)
