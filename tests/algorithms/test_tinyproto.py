import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedproto, tinyproto
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models import SplitModel

DIMENSIONS = torch.tensor([[0, 2], [1, 2], [0, 3]])


def configured(**options: Any) -> tinyproto.Config:
    return tinyproto.Config(**{"classes": 3, "width": 4, "kept_share": 0.5, **options})


def broadcast(known: list[bool], *rows: tuple[float, float]) -> GlobalPrototypes:
    return GlobalPrototypes(np.array(known), np.array(rows, np.float32))


def goal(known: list[bool], *rows: tuple[float, float]) -> tinyproto.Targets:
    return tinyproto.expand(broadcast(known, *rows), DIMENSIONS, 4, torch.device("cpu"))


def upload(*rows: tuple[int, int, float, float]) -> PrototypeUpload:
    labels, counts, *features = zip(*rows, strict=True)
    return PrototypeUpload(
        np.array(labels), np.array(counts), np.array(features, np.float32).T.copy()
    )


UPLOADS = [upload((0, 1, 0.0, 4.0)), upload((0, 3, 4.0, 8.0), (2, 5, 1.0, 1.0))]


@pytest.mark.parametrize(("share", "count"), [(1.0, 8), (0.5, 4), (0.3, 2), (0.01, 1)])
def test_how_many_dimensions_a_class_keeps(share: float, count: int) -> None:
    kept = tinyproto.dimensions(configured(width=8, kept_share=share))
    assert kept.shape == (3, count)
    assert (kept.diff(dim=1) > 0).all()
    assert 0 <= kept.min() <= kept.max() < 8


def test_the_seed_and_the_class_alone_decide_the_dimensions() -> None:
    def drawn(**options: Any) -> list[list[int]]:
        got: list[list[int]] = tinyproto.dimensions(configured(width=64, **options)).tolist()
        return got

    assert drawn(seed=1) == drawn(seed=1, local_epochs=5)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=1)[:2] == drawn(seed=1, classes=2)
    assert drawn(seed=1)[0] != drawn(seed=1)[1]


def test_all_dimensions_are_about_as_likely() -> None:
    kept = tinyproto.dimensions(configured(classes=400, width=4, kept_share=0.5))
    counts = torch.bincount(kept.flatten())
    assert counts.min() > 160
    assert counts.max() < 240


def test_prototypes_are_put_back_to_their_dimensions() -> None:
    got = goal([True, True, False], (1, 2), (3, 4), (0, 0))
    assert got.prototypes_CK.tolist() == [[1, 0, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    assert got.kept_CK.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
    assert got.known_C.tolist() == [True, True, False]


def test_the_pull_by_hand() -> None:
    features = torch.tensor([[1.0, 9.0, 4.0, 9.0], [9.0, 9.0, 9.0, 9.0]])
    known = goal([True, True, False], (1, 2), (3, 4), (0, 0))
    # Class 0 on dimensions 0 and 2: gaps 0 and 2; class 2 has no prototype. 4 over 2 x 2 entries.
    assert tinyproto.pull(features, torch.tensor([0, 2]), known).item() == 1.0
    # Class 1 on dimensions 1 and 2: gaps 6 and 5. (4 + 36 + 25) / 4.
    assert tinyproto.pull(features, torch.tensor([0, 1]), known).item() == 16.25


def test_the_loss_by_hand() -> None:
    features = torch.tensor([[1.0, 9.0, 4.0, 9.0]])
    known = goal([True, True, True], (1, 2), (3, 4), (0, 0))
    # Equal logits: log 3. Gaps 0 and 2: mean square 2, three times.
    got = tinyproto.loss(
        lambda inputs: (inputs, torch.zeros(1, 3)), (features, torch.tensor([0])), known, 3.0
    )
    assert got.item() == pytest.approx(math.log(3) + 6)


def test_the_weight_of_the_pull_is_the_configs(identity: SplitModel) -> None:
    config = tinyproto.Config(classes=2, width=2, kept_share=0.5, pull=7.0)
    algorithm = tinyproto.build(config)
    sent = GlobalPrototypes(np.array([True, True]), np.array([[0], [0]], np.float32))
    batch = torch.tensor([[2.0, 2.0]]), torch.tensor([1])
    # One kept dimension, at 2 from its prototype.
    got = algorithm.loss(identity, batch, algorithm.targets(sent, torch.device("cpu")))
    assert got.item() == pytest.approx(math.log(2) + 7 * 4)
    assert algorithm.sizes == {"C": 2, "D": 1}


def test_features_off_the_dimensions_have_no_slope() -> None:
    features = torch.full((1, 4), 5.0, requires_grad=True)
    known = goal([True, True, True], (1, 2), (3, 4), (0, 0))
    tinyproto.pull(features, torch.tensor([0]), known).backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[4.0, 0.0, 3.0, 0.0]]  # 2 x gap / 2 entries


def test_each_class_is_compared_on_its_own_dimensions() -> None:
    features = torch.tensor([[1.0, 2.0, 4.0, 9.0]])
    known = goal([True, True, False], (1, 2), (3, 4), (0, 0))
    # Class 0: gaps 0 and 2; class 1: gaps -1 and 0; class 2 is unknown.
    scores = tinyproto.nearness(features, known)
    assert scores.tolist() == [[-2.0, -0.5, -math.inf]]


def test_only_kept_entries_are_sent() -> None:
    whole = PrototypeUpload(
        np.array([0, 2]), np.array([3, 1]), np.arange(8, dtype=np.float32).reshape(2, 4)
    )
    got = tinyproto.compress(whole, DIMENSIONS)
    # Class 0 keeps 0 and 2 of (0 1 2 3), class 2 keeps 0 and 3 of (4 5 6 7).
    assert got.prototypes_ND.tolist() == [[0.0, 2.0], [4.0, 7.0]]
    assert (got.labels_N.tolist(), got.counts_N.tolist()) == ([0, 2], [3, 1])


def test_the_server_averages_clients_alike_or_by_samples() -> None:
    alike = tinyproto.build(configured()).aggregate(tinyproto.State(), UPLOADS)[1]
    assert alike.known_C.tolist() == [True, False, True]
    assert alike.prototypes_CD.tolist() == [[2.0, 6.0], [0.0, 0.0], [1.0, 1.0]]
    weighted = tinyproto.build(configured(weighted=True)).aggregate(tinyproto.State(), UPLOADS)[1]
    assert weighted.prototypes_CD.tolist() == [[3.0, 7.0], [0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("epochs", [1, 2])
def test_with_all_dimensions_it_is_fedproto(epochs: int) -> None:
    torch.manual_seed(0)
    whole = GlobalPrototypes(
        np.array([True, False, True]), np.random.default_rng(0).random((3, 4), np.float32)
    )
    batches = Batches(torch.randn(8, 2), torch.tensor([0, 1, 2, 0, 0, 1, 2, 2]), 4)
    results = []
    for module in (fedproto, tinyproto):
        options = {"kept_share": 1.0} if module is tinyproto else {}
        config = module.Config(classes=3, width=4, local_epochs=epochs, local_lr=0.1, **options)
        algorithm: Any = module.build(config)
        torch.manual_seed(1)
        model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 4)), 4, 3, features=4)
        sent = algorithm.train(model, batches, whole)
        target = algorithm.targets(whole, torch.device("cpu"))
        scores = algorithm.predict(model.eval(), batches.inputs, target)
        mean = algorithm.aggregate(algorithm.start()[0], [sent, sent])[1].prototypes_CD
        results.append((sent.prototypes_ND, sent.counts_N, scores.detach().numpy(), mean))
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_client_without_a_full_batch_uploads_nothing(identity: SplitModel) -> None:
    algorithm = tinyproto.build(tinyproto.Config(classes=2, width=2, kept_share=0.5))
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4)
    got = algorithm.train(identity, batches, algorithm.start()[1])
    assert (len(got.labels_N), got.prototypes_ND.shape) == (0, (0, 1))
    _, opened = algorithm.aggregate(tinyproto.State(), [got])
    assert not opened.known_C.any()


def test_no_sample_has_a_class_before_there_are_prototypes(identity: SplitModel) -> None:
    algorithm = tinyproto.build(tinyproto.Config(classes=2, width=2, kept_share=0.5))
    first = algorithm.start()[1]
    assert first.prototypes_CD.shape == (2, 1)
    target = algorithm.targets(first, torch.device("cpu"))
    assert not algorithm.predict(identity, torch.ones(1, 2), target).isfinite().any()


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3"):
        tinyproto.build(configured()).check(upload((3, 1, 0.0, 0.0)))
