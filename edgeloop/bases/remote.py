"""Bases behind HTTP: asked for by their `reference`, fetched once, and checked.

A server's folder has files only, so that any web server can serve it:

index.json                  {"bases": {NAME: {VERSION: IDENTITY}}}
NAME/VERSION/base.json      the manifest
NAME/VERSION/features.onnx  the graph
"""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edgeloop.bases import manifest, placing
from edgeloop.bases.manifest import GRAPH, MANIFEST, Manifest
from edgeloop.bases.reference import DIGEST, FORM, Remote, parse
from edgeloop.errors import BaseError, UnavailableError
from edgeloop.protocol import wire

log = logging.getLogger(__name__)

INDEX = "index.json"
PATIENCE_SECONDS = 60.0
"""For which a server that does not answer is asked again: it may be starting."""

_ANSWER_SECONDS = 20.0
_LARGEST = {INDEX: 4 << 20, MANIFEST: 1 << 20, GRAPH: wire.MAX_FRAME}  # bytes of a file

T = TypeVar("T")


class _AwayError(Exception):
    """The server does not answer as it should; it may later."""


def found(remote: Remote, patience_seconds: float = PATIENCE_SECONDS) -> Remote:
    """Return a base with its version and identity, as its server has it now.

    Raises:
        BaseError: if the server has none, or another one.
        UnavailableError: if it does not answer.
    """
    return _patiently(remote, lambda: _found(remote), patience_seconds)


def listed(root: str, patience_seconds: float = 0.0) -> dict[str, dict[int, str]]:
    """Return what a server has: versions and identities by name.

    Raises:
        BaseError: if it is no such server.
        UnavailableError: if it does not answer.
    """
    whole = Remote(root.rstrip("/"), "")
    return _patiently(whole, lambda: _index(whole), patience_seconds)


def fetch(remote: Remote, place: Path, patience_seconds: float = PATIENCE_SECONDS) -> Manifest:
    """Fetch a base into a folder, which appears whole or not at all; its parents are made.

    Args:
        remote: what.
        place: the folder; a whole base that is there stays, anything else goes.
        patience_seconds: for which a server that does not answer is asked again.

    Raises:
        BaseError: if the server has none, or what comes is another base.
        UnavailableError: if it does not answer.
        RunError: if the folder cannot be written.
    """
    facts, graph = _patiently(remote, lambda: _fetched(_found(remote)), patience_seconds)
    kept = put(place, facts, graph)
    log.info("base %s: fetched, identity %s", remote.name, kept.identity)
    return kept


def put(place: Path, facts: Manifest, graph: bytes) -> Manifest:
    """Write a base to a folder, which appears whole or not at all; its parents are made.

    Raises:
        RunError: if the folder cannot be written.
    """
    fields = facts.model_dump(exclude={"sha256"})
    return placing.put(place, graph, ".fetched-", **fields)


def held(
    reference: str,
    folder: Path,
    patience_seconds: float = PATIENCE_SECONDS,
    begun: str | None = None,
) -> Path:
    """Return the folder of a base that is fetched once and held to, whatever its server does.

    One that is damaged is fetched again.

    Args:
        reference: of the base.
        folder: where bases are kept.
        patience_seconds: for which a server that does not answer is asked again.
        begun: the identity that a run began with: no other base is fetched.

    Raises:
        BaseError: as `fetch`, and if the server does not have that identity.
        UnavailableError: if it does not answer.
    """
    remote = parse(reference)
    place = folder / f"fetched-{remote.key}"
    if placing.there(place) is None:
        known = remote if begun is None else _of_identity(remote, begun, patience_seconds)
        fetch(known, place, patience_seconds)
    return place


def _of_identity(remote: Remote, sha256: str, patience_seconds: float) -> Remote:
    """Return the version of a base that has an identity, whichever is the newest."""
    versions = listed(remote.root, patience_seconds).get(remote.name, {})
    alike = [version for version, identity in versions.items() if identity == sha256]
    if not alike:
        problem = f"{remote.root} has no {remote.name!r} that is the base the run began with"
        remedy = "write that version there again, or begin a new run in another folder"
        raise BaseError("base", f"{problem} ({sha256[:12]}...)", remedy)
    return replace(remote, version=max(alike), sha256=sha256)


def stored(reference: str, store: Path, patience_seconds: float = PATIENCE_SECONDS) -> Path:
    """Return the folder of a base in a store, fetched if that very base is not there yet."""
    remote = parse(reference)
    known = remote if remote.sha256 is not None else found(remote, patience_seconds)
    place = store / f"fetched-{str(known.sha256)[:16]}"
    if placing.there(place) is None:
        fetch(known, place, patience_seconds)
    return place


def _found(remote: Remote) -> Remote:
    bases = _index(remote)
    if remote.name not in bases or not bases[remote.name]:
        names = ", ".join(sorted(name for name in bases if bases[name])) or "none"
        raise BaseError(
            "base", f"{remote.root} has no {remote.name!r}", f"it has {names}: name one"
        )
    versions = bases[remote.name]
    version = max(versions) if remote.version is None else remote.version
    if version not in versions:
        those = ", ".join(map(str, sorted(versions)))
        problem = f"{remote.root} has no version {version} of {remote.name!r}"
        raise BaseError("base", problem, f"it has {those}: name one")
    if remote.sha256 not in (None, versions[version]):
        problem = f"version {version} of {remote.name!r} at {remote.root} is another base"
        problem += f" ({versions[version][:12]}...) than asked for ({str(remote.sha256)[:12]}...)"
        raise BaseError("base", problem, "name the version that you mean, or its own sha256")
    return replace(remote, version=version, sha256=versions[version])


def _index(remote: Remote) -> dict[str, dict[int, str]]:
    content = _asked(remote, INDEX)
    try:
        index = json.loads(content)["bases"]
        return {
            str(name): {int(version): _digest(each) for version, each in versions.items()}
            for name, versions in index.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{remote.root} does not serve bases"
        raise BaseError("base", problem, "name a server that `edgeloop base serve` runs") from error


def _digest(value: object) -> str:
    if not isinstance(value, str) or DIGEST.fullmatch(value) is None:
        raise ValueError(value)
    return value


def _fetched(known: Remote) -> tuple[Manifest, bytes]:
    place = f"{known.name}/{known.version}"
    try:
        facts = Manifest.model_validate_json(_asked(known, f"{place}/{MANIFEST}"))
    except ValueError as error:
        problem = f"{known.root} has a damaged manifest of {known.name!r}"
        raise BaseError("base", problem, "write it there again") from error
    graph = _asked(known, f"{place}/{GRAPH}")
    if not manifest.digest(graph) == known.sha256 == facts.sha256:
        problem = f"what came from {known.root} as {known.name!r} is another file: its SHA-256"
        problem += f" is {manifest.digest(graph)[:12]}..., not {str(known.sha256)[:12]}..."
        raise BaseError("base", problem, "have it written there again, and ask again")
    return facts, graph


def _asked(remote: Remote, path: str) -> bytes:
    """Return a file of the server's."""
    url = f"{remote.root}/{path}"
    largest = _LARGEST[path.rpartition("/")[2]]
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - http(s)
            content: bytes = answer.read(largest + 1)
            length = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500 or error.code in (408, 429):
            raise _AwayError(f"answers {error.code}") from error
        problem = f"{remote.root} answers {error.code} for {path}"
        remedy = "name a server that `edgeloop base serve` runs"
        raise BaseError("base", problem, remedy) from error
    except (OSError, http.client.HTTPException) as error:
        raise _AwayError(str(getattr(error, "reason", None) or error)) from error
    except ValueError as error:  # a host that no name can be
        raise BaseError("base", f"{url} is no address ({error})", FORM) from error
    if len(content) > largest:
        raise BaseError("base", f"{url} is larger than {largest} bytes", "choose another base")
    if length is not None and length.isdecimal() and len(content) != int(length):
        raise _AwayError(f"broke off after {len(content)} bytes of {path}")
    return content


def _patiently(remote: Remote, ask: Callable[[], T], seconds: float) -> T:
    """Ask again while the server does not answer: after 0.1 s, 0.2 s ... 5 s."""
    deadline, wait, said = time.monotonic() + seconds, 0.1, ""
    while True:
        try:
            return ask()
        except _AwayError as error:
            if time.monotonic() + wait > deadline:
                problem = f"{remote.root} does not answer ({error})"
                raise UnavailableError("base", problem, "start it, or name a folder") from error
            if said != str(error):
                log.warning("base %s: %s does not answer (%s)", remote.name, remote.root, error)
            said = str(error)
        time.sleep(wait)
        wait = min(2 * wait, 5.0)
