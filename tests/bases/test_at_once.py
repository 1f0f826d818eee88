"""Bases that several processes put into one place at once."""

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from cloud.generator_service.bases import repository
from edgeloop.bases import building, manifest, placing, remote
from edgeloop.bases.recipe import BaseRecipe
from tests.bases.served import serving, write_base
from tests.bases.tiny import tiny_graph

SHAPE, PROCESSES, TIMES = (1, 28, 28), 3, 25
RECIPE = BaseRecipe(filters=8, dims=6, images=50)

_together: Barrier


def _meet(barrier: Barrier) -> None:
    global _together
    _together = barrier


def _write_all(folder: Path) -> list[str]:
    """Write a base to each of several folders as the others do; return what was found there."""
    graph, found = tiny_graph(SHAPE, 6), []
    for number in range(TIMES):
        place = folder / str(number)
        _together.wait(60)
        building.write_base(place, graph, SHAPE, RECIPE, "0" * 64)
        found.append(manifest.read(place)[0].identity)
    return found


def test_processes_that_write_one_base_at_once_all_find_it_whole(tmp_path: Path) -> None:
    context = get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, _meet, (barrier,)) as pool:
        found = list(pool.map(_write_all, [tmp_path] * PROCESSES))
    assert found == [[manifest.digest(tiny_graph(SHAPE, 6))] * TIMES] * PROCESSES
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(map(str, range(TIMES)))


def test_what_is_half_there_is_replaced_and_another_base_too(tmp_path: Path) -> None:
    place = tmp_path / "base"
    place.mkdir()
    (place / manifest.GRAPH).write_bytes(b"half")
    first, second = tiny_graph(SHAPE, 6), tiny_graph(SHAPE, 5)
    for graph in (first, second):
        facts = building.write_base(place, graph, SHAPE, RECIPE, "0" * 64)
        assert manifest.read(place) == (facts, graph)
    assert list(tmp_path.iterdir()) == [place]


def test_a_base_that_another_process_has_fetched_meanwhile_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, store = tmp_path / "models", tmp_path / "store"
    write_base(tmp_path / "v1")
    repository.write(tmp_path / "v1", models, "faces", 1)
    put, fetched = placing.put, threading.Event()

    def late(place: Path, *arguments: object, **fields: object) -> manifest.Manifest:
        """Put a base in its place when another has been put there."""
        if not fetched.is_set():
            fetched.set()
            first = remote.held(reference, store)
            (first / "in use").touch()
        return put(place, *arguments, **fields)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(placing, "put", late)
    with serving(models) as address:
        reference = f"{address}/faces"
        place = remote.held(reference, store)
    assert (place / "in use").exists()
