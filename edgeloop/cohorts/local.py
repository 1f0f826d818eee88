"""A cohort in this process."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from edgeloop.answers import Answer, Report
from edgeloop.client_protocol import ClientProtocol
from edgeloop.errors import RunError

U = TypeVar("U")
B = TypeVar("B")
T = TypeVar("T")


class LocalCohort(Generic[B, U]):
    """Asks every client in turn, in the order of their names.

    Args:
        clients: by name.
        absent_stay: whether who does not join stays as it was, as a device that is away; it still
            tells what it would measure.
    """

    def __init__(
        self, clients: Mapping[str, ClientProtocol[U, B]], absent_stay: bool = False
    ) -> None:
        self._clients = dict(sorted(clients.items()))
        self._absent_stay = absent_stay

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        return {
            name: client.answer(round_number, broadcast)
            if participants is None or name in participants
            else self._evaluated(client, round_number, broadcast)
            for name, client in self._clients.items()
        }

    def _evaluated(
        self, client: ClientProtocol[U, B], round_number: int, broadcast: B
    ) -> Answer[U]:
        before = client.weights() if self._absent_stay else None
        answer = client.answer(round_number, broadcast, False)
        if before is not None:
            client.restore(before)
        return answer

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have every client evaluate the last broadcast."""
        return {name: client.finish(broadcast) for name, client in self._clients.items()}

    def hits(self) -> Mapping[str, bytes]:
        """Return what every client's last evaluation has right; see `Client.hits`."""
        return {name: client.hits() for name, client in self._clients.items()}

    def map_clients(self, function: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Return what a function of a client's name and the client tells of every client."""
        return {name: function(name, client) for name, client in self._clients.items()}

    def save(self, folder: Path) -> None:
        """Write every client's model to a file of its own in an existing folder."""
        for name, client in self._clients.items():
            save_file(dict(client.weights()), folder / f"{name}.safetensors")

    def restore(self, folder: Path) -> None:
        """Take over the models that `save` wrote.

        Raises:
            RunError: if one cannot be read, or is another architecture's.
        """
        for name, client in self._clients.items():
            client.restore(load_weights(folder / f"{name}.safetensors"))

    def close(self) -> None:
        """Let go of the clients; nothing to do here."""


def load_weights(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """Return what a cohort's `save` wrote of one client.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return load_file(path)
    except (AttributeError, KeyError, OSError, SafetensorError) as error:
        remedy = "remove the run's folder: it then starts again"
        raise RunError(str(path), f"cannot be read ({error})", remedy) from error
