"""The partitions against PFLlib's published client sizes."""

import logging
from typing import Any

import numpy as np
import pytest

from edgeloop.data import Partition, Pool, split
from edgeloop.errors import ConfigError, DataError


def labelled(classes: int, per_class: int, clients: Any = None) -> Pool:
    """A pool of equal classes whose inputs take no memory."""
    labels = np.repeat(np.arange(classes, dtype=np.int64), per_class)
    inputs = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (len(labels), 1, 1, 1))
    return Pool(inputs, labels, tuple(map(str, range(classes))), clients)


ORACLE = [
    ("dirichlet", 10, 6000, 2,
     "1621 1814 1211 2080 5128 4264 1440 2622 2974 3236 "
     "1164 1964 5994 1527 3100 4325 4252 3175 5449 2660"),
    ("dirichlet", 100, 600, 2,
     "3020 3053 2753 3029 2640 2877 3120 3047 2807 3211 "
     "2761 3359 3290 2971 3301 3132 3345 2642 3035 2607"),
    ("dirichlet", 200, 500, 2,
     "5092 3261 5001 5006 5162 5323 5067 4823 5144 5210 "
     "5465 4638 5132 5154 5099 5450 4596 5079 5074 5224"),
    ("pathological", 10, 6000, 2,
     "2266 1250 2243 6241 2009 952 1734 7305 1859 2514 "
     "2046 5581 1605 1114 1548 7733 2649 1442 2084 5825"),
    ("pathological", 100, 600, 10,
     "1816 4184 1941 4059 1426 4574 952 5048 1654 4346 "
     "2060 3940 1890 4110 1364 4636 1960 4040 1899 4101"),
    ("pathological", 200, 500, 20,
     "2996 7004 2584 7416 2712 7288 2403 7597 2483 7517 "
     "2952 7048 2027 7973 3229 6771 2815 7185 2868 7132"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "classes", "per_class", "per_client", "expected"), ORACLE)
def test_sizes_are_those_of_pfllib(
    kind: Any, classes: int, per_class: int, per_client: int, expected: str
) -> None:
    federation = split(labelled(classes, per_class), Partition(kind, classes_per_client=per_client))
    sizes = [int(size) for size in expected.split()]
    assert [train + test for train, test in federation.sizes()] == sizes
    assert [train for train, _ in federation.sizes()] == [size * 3 // 4 for size in sizes]
    assert sum(sizes) == classes * per_class


def test_cifar10_classes_of_the_first_clients() -> None:
    counts = split(labelled(10, 6000), Partition("dirichlet")).label_counts()
    shares = [{k: int(n) for k, n in enumerate(row) if n} for row in counts]
    assert shares[0] == {1: 9, 3: 668, 4: 476, 5: 287, 6: 5, 7: 167, 9: 9}
    assert shares[1] == {0: 7, 1: 1, 2: 62, 4: 43, 7: 177, 8: 1524}
    assert shares[2] == {2: 16, 3: 158, 4: 1034, 5: 3}
    assert shares[4] == {0: 24, 2: 5104}
    assert shares[5] == {0: 2832, 3: 1432}


@pytest.mark.parametrize(
    ("classes", "part", "pairs"),
    [(100, "all", 921), (100, "train", 869), (100, "test", 714), (200, "all", 1776)],
)
def test_client_and_class_pairs(classes: int, part: Any, pairs: int) -> None:
    federation = split(
        labelled(classes, 60000 // classes if classes == 100 else 500), Partition("dirichlet")
    )
    assert np.count_nonzero(federation.label_counts(part)) == pairs


def test_the_split_into_train_and_test_follows_the_partition_in_the_same_stream() -> None:
    federation = split(labelled(2, 8), Partition("iid", clients=1, seed=5))
    order = np.random.RandomState(5).permutation(16)
    train, test = federation.labels(0)
    assert train.tolist() == (order[4:] // 8).tolist()
    assert test.tolist() == (order[:4] // 8).tolist()


def test_every_sample_goes_to_exactly_one_client() -> None:
    pool = Pool(
        np.arange(400, dtype=np.float32).reshape(400, 1), np.arange(400) % 4, ("a", "b", "c", "d")
    )
    federation = split(pool, Partition("dirichlet", clients=5, alpha=1.0))
    clients = [federation.client(i) for i in range(5)]
    held = np.concatenate([part.inputs for each in clients for part in (each.train, each.test)])
    assert sorted(held[:, 0].tolist()) == list(range(400))
    for each in clients:
        assert each.train.labels.tolist() == (each.train.inputs[:, 0].astype(int) % 4).tolist()


def test_a_part_of_the_samples_is_drawn_before_they_are_divided() -> None:
    pool = labelled(4, 100)
    federation = split(pool, Partition("iid", clients=4, samples=200, seed=3))
    held = np.concatenate([*federation.train, *federation.test])
    assert len(held) == len(set(held.tolist())) == 200
    again = split(pool, Partition("iid", clients=4, samples=200, seed=3))
    other = split(pool, Partition("iid", clients=4, samples=200, seed=4))
    assert again.fingerprint() == federation.fingerprint() != other.fingerprint()
    assert set(held.tolist()) != set(np.concatenate([*other.train, *other.test]).tolist())
    with pytest.raises(DataError, match="samples: 401 of only 400; use at most 400"):
        split(pool, Partition("iid", clients=4, samples=401))


def test_pathological_slices_are_in_dataset_order_and_balanced_ones_equal() -> None:
    pool = labelled(4, 8)
    federation = split(pool, Partition("pathological", clients=4, balanced=True))
    assert federation.label_counts().tolist() == [
        [4, 4, 0, 0],
        [4, 4, 0, 0],
        [0, 0, 4, 4],
        [0, 0, 4, 4],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_unbalanced_shares_are_drawn_above_the_least_of_a_class(seed: int) -> None:
    # 10 samples a client on average, least 10, so at least 5 and at most 9 of each of two classes.
    counts = split(labelled(2, 40), Partition("iid", clients=4, seed=seed)).label_counts()
    assert counts[:3].min() >= 5
    assert counts[:3].max() <= 9
    assert counts.sum(axis=0).tolist() == [40, 40]


def test_iid_balanced_gives_every_client_every_class() -> None:
    federation = split(labelled(3, 12), Partition("iid", clients=4, balanced=True))
    assert federation.label_counts().tolist() == [[3, 3, 3]] * 4


def test_natural_clients_are_those_of_the_source() -> None:
    pool = labelled(2, 4, clients=np.array([7, 7, 3, 3, 7, 7, 3, 7]))
    federation = split(pool, Partition("natural", clients=99))
    assert federation.label_counts().tolist() == [[2, 1], [2, 3]]


def test_classes_for_nobody_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        federation = split(labelled(102, 80), Partition("pathological", classes_per_client=10))
    assert federation.absent_classes == (100, 101)
    assert "2 of 102 classes: 100, 101" in caplog.text


def test_the_global_stream_is_neither_read_nor_moved() -> None:
    np.random.seed(9)
    first = split(labelled(3, 40), Partition("dirichlet", clients=3)).fingerprint()
    drawn = np.random.random()
    np.random.seed(9)
    assert np.random.random() == drawn
    assert split(labelled(3, 40), Partition("dirichlet", clients=3)).fingerprint() == first


MNIST = (6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958)
"""Images of each digit in MNIST, training and test together."""


def test_the_first_client_of_mnist_has_htfllibs_labels_in_its_order() -> None:
    labels = np.repeat(np.arange(10, dtype=np.int64), MNIST)
    inputs = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (len(labels), 1, 1, 1))
    federation = split(Pool(inputs, labels, tuple("0123456789")), Partition("dirichlet"))
    train, _ = federation.labels(0)
    expected = [1, 5, 8, 8, 8, 8, 7, 8, 8, 1, 5, 1, 5, 7, 8, 5, 5, 8, 9, 8]
    assert (len(train), train[:20].tolist()) == (1972, expected)


# What the reference procedure gave for labels of equal classes, run once beside ours.
EXDIR = [
    (10, 6000, 20, 2, 100.0, 1,
     "2842 2548 3062 3111 3082 3042 4053 2044 2975 2853 "
     "2989 2244 3305 4258 4453 2291 2767 2879 2422 2780"),
    (10, 6000, 20, 2, 0.1, 1,
     "3707 2100 2100 5637 58 3748 470 5715 3866 77 "
     "857 5091 1188 5504 496 247 5214 7591 911 5423"),
    (10, 300, 20, 3, 1.0, 1,
     "46 177 149 74 108 251 258 74 88 218 289 49 125 106 132 244 58 311 160 83"),
    (10, 777, 7, 4, 5.0, 1, "897 1609 1179 839 1117 901 1228"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "each", "clients", "per_client", "alpha", "seed", "expected"), EXDIR
)
def test_exdir_gives_pfllibs_sizes(
    classes: int,
    each: int,
    clients: int,
    per_client: int,
    alpha: float,
    seed: int,
    expected: str,
) -> None:
    partition = Partition(
        "exdir", clients=clients, alpha=alpha, classes_per_client=per_client, seed=seed
    )
    federation = split(labelled(classes, each), partition)
    assert [sum(pair) for pair in federation.sizes()] == [int(size) for size in expected.split()]
    held = np.concatenate([*federation.train, *federation.test])
    assert sorted(held.tolist()) == list(range(classes * each))
    counts = federation.label_counts()
    assert (counts > 0).sum(axis=1).max() <= per_client
    assert (counts > 0).sum(axis=0).min() >= 1


def test_exdir_ends_with_a_shuffle_of_every_client() -> None:
    """One client, one class: the class is shuffled, a share drawn, the client shuffled."""
    partition = Partition("exdir", clients=1, classes_per_client=1, seed=5)
    federation = split(labelled(1, 12), partition)
    draw = np.random.RandomState(5)
    draw.choice(1, 1, replace=False)
    order = np.arange(12)
    draw.shuffle(order)
    draw.dirichlet([0.1])
    draw.shuffle(order)
    places = draw.permutation(12)
    assert federation.train[0].tolist() == order[places[3:]].tolist()
    assert federation.test[0].tolist() == order[places[:3]].tolist()


@pytest.mark.parametrize(
    ("classes", "clients", "per_client", "problem", "remedy"),
    [
        (10, 4, 2, "2 for each of 4 clients cannot give all 10 classes 1 clients", "more classes"),
        (30, 5, 7, "in 40 draws never gave all 30 classes 1 clients", "more clients"),
        (2, 4, 3, "3 of only 2 classes", "use at most 2"),
    ],
)
def test_exdir_names_what_is_impossible(
    classes: int, clients: int, per_client: int, problem: str, remedy: str
) -> None:
    partition = Partition("exdir", clients=clients, classes_per_client=per_client, max_tries=2)
    with pytest.raises((ConfigError, DataError), match=problem) as caught:
        split(labelled(classes, 40), partition)
    assert caught.value.field == "classes_per_client"
    assert remedy in caught.value.remedy


def test_exdir_gives_up_where_clients_stay_poor() -> None:
    partition = Partition("exdir", clients=10, alpha=0.01, classes_per_client=1, max_tries=3)
    with pytest.raises(DataError, match=r"clients: 10 with alpha 0\.01: after 3 draws") as caught:
        split(labelled(2, 40), partition)
    assert "use fewer clients, a larger alpha (PFLlib recommends 100)" in caught.value.remedy


@pytest.mark.parametrize("seed", range(10))
def test_dirichlet_draws_until_every_client_has_its_least(seed: int) -> None:
    partition = Partition("dirichlet", clients=5, alpha=0.3, seed=seed)
    sizes = [sum(each) for each in split(labelled(4, 100), partition).sizes()]
    assert min(sizes) >= partition.least(400) == 40


def test_dirichlet_gives_up_and_says_who_lacks_how_much() -> None:
    with pytest.raises(DataError) as caught:
        split(labelled(2, 100), Partition("dirichlet", clients=10, alpha=0.01, max_tries=3))
    assert caught.value.field == "clients"
    assert "10 with alpha 0.01: after 3 draws client" in str(caught.value)
    assert "short of the 10 that every client needs" in str(caught.value)
    assert caught.value.remedy == "use fewer clients, a larger alpha or more data"


def test_an_alpha_that_underflows_is_a_failed_draw_and_no_crash() -> None:
    with pytest.raises(DataError, match="after 5 draws"):
        split(labelled(4, 50), Partition("dirichlet", clients=5, alpha=1e-9, max_tries=5))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "fair"),
        ("clients", 0),
        ("alpha", 0.0),
        ("alpha", float("nan")),
        ("classes_per_client", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("train_fraction", 1.0),
        ("train_fraction", 0.0),
        ("batch_size", 0),
        ("max_tries", 0),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    settings: dict[str, Any] = {"kind": "iid", field: value}
    with pytest.raises(ConfigError) as caught:
        Partition(**settings)
    assert caught.value.field == {"kind": "partition"}.get(field, field)


@pytest.mark.parametrize(
    ("pool", "partition", "field"),
    [
        (labelled(2, 3), Partition("dirichlet", clients=7), "clients"),
        (labelled(2, 20), Partition("pathological", classes_per_client=3), "classes_per_client"),
        (labelled(2, 20), Partition("iid", clients=30), "clients"),
        (labelled(2, 2), Partition("iid", clients=4, balanced=True), "client 0"),
        (labelled(2, 20), Partition("natural"), "partition"),
    ],
)
def test_what_a_pool_does_not_allow_is_named(pool: Pool, partition: Partition, field: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        split(pool, partition)
    assert caught.value.field == field
