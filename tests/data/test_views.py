"""Some clients of a federation, and few samples of each class."""

import numpy as np
import pytest

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.views import View, first_of_each, select_clients
from edgeloop.errors import DataError


@pytest.fixture
def federation() -> data.Federation:
    inputs = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1)
    pool = Pool(inputs, np.arange(40) % 2, ("even", "odd"))
    return data.split(pool, Partition("iid", clients=4, balanced=True))


def test_the_first_of_each_class_stay_in_their_order() -> None:
    labels = np.array([1, 0, 1, 1, 0, 2])
    assert first_of_each(labels, 2).tolist() == [0, 1, 2, 4, 5]
    assert first_of_each(labels, 9).tolist() == list(range(6))


def test_chosen_clients_keep_what_they_have(federation: data.Federation) -> None:
    view = select_clients(federation, [3, 1])
    assert len(view) == 2
    for number, source in ((0, 3), (1, 1)):
        ours, theirs = view.shards(number), federation.shards(source)
        assert np.array_equal(ours.train.inputs, theirs.train.inputs)
        assert np.array_equal(ours.test.labels, theirs.test.labels)
    assert view.sizes() == [federation.sizes()[3], federation.sizes()[1]]
    assert (view.shape, view.classes, view.pixels) == ((1, 1, 1), 2, federation.pixels)


def test_few_shots_leave_the_test_samples(federation: data.Federation) -> None:
    view = select_clients(federation, range(4), shots=2)
    for client in range(4):
        train, test = view.labels(client)
        assert np.bincount(train).tolist() == [2, 2]
        assert np.array_equal(train, view.shards(client).train.labels)
        assert np.array_equal(test, federation.labels(client)[1])
    kept = view.shards(0).train.inputs.ravel().tolist()
    whole = federation.shards(0).train.inputs.ravel().tolist()
    assert kept == [value for value in whole if value in kept]


def test_a_view_has_a_fingerprint_of_its_own(federation: data.Federation) -> None:
    views = [
        federation,
        select_clients(federation, [0]),
        select_clients(federation, [1]),
        select_clients(federation, range(4), 2),
    ]
    assert len({view.fingerprint() for view in views}) == 4
    assert select_clients(federation, range(4)) is federation


def test_a_client_that_is_not_there(federation: data.Federation) -> None:
    with pytest.raises(DataError, match=r"client 4: does not exist: the clients are 0 to 3"):
        View(federation, (4,))
    with pytest.raises(DataError, match="client 2"):
        select_clients(federation, [0, 1]).shards(2)
