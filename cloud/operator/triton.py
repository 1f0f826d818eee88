"""What a Triton server has loaded of a Generator: looks, loads, unloads; no image is made here."""

import re
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from edgeloop.generators import channel, control

T = TypeVar("T")

PARTS = ("mapping", "synthesis")
"""The two models of a generator; the synthesis is taken up last and given up first."""

_LOAD_SECONDS = 120.0  # a model is warmed up before it is served
_IDENTITY = re.compile(r"edgeloop\.identity\.(\d+)")


class UnavailableError(Exception):
    """The server does not answer, or cannot do what it is asked."""


class Triton:
    """A server with explicit model control, in one pod or in several that share a repository.

    Args:
        place: its host and gRPC port; a name with several addresses is several pods.
        seconds: that one may take to say what it serves.
    """

    def __init__(self, place: str, seconds: float) -> None:
        self._place, self._seconds = place, seconds

    @property
    def _headers(self) -> dict[str, str]:
        """The secret that the server asks for, read again: it may change."""
        return control.headers(control.read_secret())

    def served(self, name: str) -> dict[int, str]:
        """Return the versions of a generator that every pod serves, each with its identity.

        Raises:
            UnavailableError: if one does not answer, or none is there.
        """

        def look(client: InferenceServerClient) -> set[tuple[int, str]]:
            index = client.get_model_repository_index(self._headers, client_timeout=self._seconds)
            found = [_ready(client, index, f"{name}-{part}", self._seconds) for part in PARTS]
            return set(found[0].items()) & set(found[1].items())

        return dict(sorted(set.intersection(*self._ask(look))))

    def load(self, name: str) -> None:
        """Load a generator's models from the repository, all their versions.

        Raises:
            UnavailableError: if a pod does not answer, or cannot load them.
        """

        def load(client: InferenceServerClient) -> None:
            for part in PARTS:
                client.load_model(f"{name}-{part}", self._headers, client_timeout=_LOAD_SECONDS)

        self._ask(load)

    def unload(self, name: str) -> None:
        """Serve a generator no more; its files stay. One that is not served stays so.

        Raises:
            UnavailableError: if a pod does not answer.
        """

        def unload(client: InferenceServerClient) -> None:
            for part in reversed(PARTS):
                client.unload_model(f"{name}-{part}", self._headers, client_timeout=_LOAD_SECONDS)

        self._ask(unload)

    def _ask(self, request: Callable[[InferenceServerClient], T]) -> list[T]:
        return [self._asked(place, request) for place in self._pods()]

    def _pods(self) -> list[str]:
        """Return the address of every pod."""
        host, _, port = self._place.rpartition(":")
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            raise UnavailableError(f"Triton at {self._place}: {error.strerror or error}") from error
        addresses = {str(each[4][0]) for each in found}
        return [
            f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in sorted(addresses)
        ]

    def _asked(self, place: str, request: Callable[[InferenceServerClient], T]) -> T:
        host = self._place.rpartition(":")[0]  # which its certificate is for, and not an address
        client = channel.connect(place, [("grpc.ssl_target_name_override", host)])
        try:
            return request(client)
        except InferenceServerException as error:
            told = str(error.message() or error.status()).partition("\n")[0][:300]
            raise UnavailableError(f"Triton at {place}: {told}") from error
        finally:
            client.close()


def _ready(client: InferenceServerClient, index: Any, model: str, seconds: float) -> dict[int, str]:
    """Return the versions of a model that are ready, each with its identity."""
    ready = {
        int(each.version) for each in index.models if each.name == model and each.state == "READY"
    }
    if not ready:
        return {}
    config = client.get_model_config(model, client_timeout=seconds).config
    known = {
        int(match[1]): str(value.string_value)
        for key, value in config.parameters.items()
        if (match := _IDENTITY.fullmatch(key))
    }
    return {number: known[number] for number in sorted(ready & known.keys())}
