import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge.agent.export import Classifier, check, export
from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import gpfl
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import WeightsUpload
from edgeloop.models import SplitModel

CONFIG = gpfl.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1)
ALGORITHM = gpfl.build(CONFIG)
# Labels 0, 1, 1 in two batches of one and two samples left over: with size 1 all count.
BATCHES = Batches(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([0, 1, 1]), 1)


def configured(**options: Any) -> gpfl.Config:
    return gpfl.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1, **options)


def equipped(model: SplitModel) -> SplitModel:
    ALGORITHM.init_client_state(model)
    return model


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)


def set_embeddings(model: SplitModel, *rows: tuple[float, float]) -> None:
    with torch.no_grad():
        gpfl.embeddings_of(model).copy_(torch.tensor(rows))


def broadcast_of(model: SplitModel, rounds: int, plus: float = 0.0) -> gpfl.Shared:
    return gpfl.Shared(rounds, weights.flat(gpfl.shared_parameters(model)) + np.float32(plus))


def test_bending_by_hand() -> None:
    bending = gpfl.ConditionalValve(2)
    with torch.no_grad():
        for network in (bending.scale, bending.shift):
            cast(nn.Linear, network[0]).bias.zero_()
        cast(nn.Linear, bending.scale[0]).weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        cast(nn.Linear, bending.shift[0]).weight.copy_(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    # Condition (4, 2). Scale: relu (4, 2), normalised (1, -1), so gamma + 1 = (2, 0). Shift:
    # (2, -4), after relu (2, 0), normalised (1, -1). Features (3, 5): (6 + 1, 0 - 1), after relu
    # (7, 0).
    got = bending(torch.tensor([[3.0, 5.0]]), torch.tensor([4.0, 2.0]))
    torch.testing.assert_close(got, torch.tensor([[7.0, 0.0]]), atol=1e-4, rtol=0)


def test_conditions_by_hand(identity: SplitModel) -> None:
    equipped(identity)
    set_embeddings(identity, (3.0, 0.0), (0.0, 6.0))
    gpfl.set_conditions(identity, BATCHES, divided=False)
    conditions = gpfl.conditions_of(identity)
    # Labels 0, 1, 1: a third of (3, 0) plus two thirds of (0, 6).
    assert conditions.general_K.tolist() == [1.5, 3.0]
    assert conditions.personal_K.tolist() == pytest.approx([1.0, 4.0])
    gpfl.set_conditions(identity, BATCHES, divided=True)
    assert conditions.personal_K.tolist() == pytest.approx([0.5, 2.0])
    assert conditions.general_K.tolist() == [1.5, 3.0]


def test_labels_that_make_no_batch_do_not_count(identity: SplitModel) -> None:
    equipped(identity)
    set_embeddings(identity, (3.0, 0.0), (0.0, 6.0))
    two = Batches(BATCHES.inputs, BATCHES.labels, 2)  # labels 0 and 1
    gpfl.set_conditions(identity, two, divided=False)
    assert gpfl.conditions_of(identity).personal_K.tolist() == [1.5, 3.0]
    none = Batches(BATCHES.inputs, BATCHES.labels, 4)
    gpfl.set_conditions(identity, none, divided=False)
    assert gpfl.conditions_of(identity).personal_K.tolist() == [0.0, 0.0]


def test_released_conditions_are_of_the_embeddings_before_the_received(
    identity: SplitModel,
) -> None:
    equipped(identity)
    set_embeddings(identity, (3.0, 0.0), (0.0, 6.0))
    conditions = gpfl.conditions_of(identity)
    ALGORITHM.load_broadcast(identity, BATCHES, broadcast_of(identity, 0))
    assert conditions.general_K.tolist() == conditions.personal_K.tolist() == [0.0, 0.0]
    ALGORITHM.load_broadcast(identity, BATCHES, broadcast_of(identity, 1, plus=1.0))
    assert conditions.general_K.tolist() == [1.5, 3.0]
    assert conditions.received_CK.tolist() == [[4.0, 1.0], [1.0, 7.0]]
    assert gpfl.embeddings_of(identity).tolist() == [[4.0, 1.0], [1.0, 7.0]]


def test_the_papers_conditions_are_of_the_received_embeddings(identity: SplitModel) -> None:
    paper = algorithms.load(
        "gpfl", classes=2, width=2, shape=(1, 16, 16), **algorithms.variant_options("gpfl", "paper")
    )
    paper.init_client_state(identity)
    set_embeddings(identity, (3.0, 0.0), (0.0, 6.0))
    paper.load_broadcast(identity, BATCHES, broadcast_of(identity, 0, plus=1.0))
    conditions = gpfl.conditions_of(identity)
    # Received (4, 1) and (1, 7): the mean, and half of a third and two thirds.
    assert conditions.general_K.tolist() == [2.5, 4.0]
    assert conditions.personal_K.tolist() == pytest.approx([1.0, 2.5])


def test_the_objective_by_hand(identity: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    equipped(identity)
    set_embeddings(identity, (2.0, 0.0), (0.0, 5.0))
    conditions = gpfl.conditions_of(identity)
    conditions.received_CK.copy_(torch.tensor([[3.0, 6.0], [0.0, 0.0]]))
    conditions.personal_K.copy_(torch.tensor([2.0, 0.0]))

    def bend(features_BK: Tensor, condition_K: Tensor) -> Tensor:
        return features_BK + condition_K

    monkeypatch.setattr(identity.kept["bending"], "forward", bend)
    batch = torch.tensor([[3.0, 3.0], [3.0, 4.0]]), torch.tensor([0, 1])
    # Personal route: logits (5, 3) and (5, 4). Global route, condition 0: cosines with the axes are
    # (1, 1) / sqrt 2 and (0.6, 0.8). Gaps to the received: (0, -3) and (3, 4), together of length
    # sqrt(9 + 25).
    personal = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    guided = (math.log(2) + math.log(1 + math.exp(-0.2))) / 2
    config = configured(pull=0.5, decay=0.0)
    got = gpfl.objective(identity, batch, config)
    assert got.item() == pytest.approx(personal + guided + 0.5 * math.sqrt(34), abs=1e-5)
    with_penalty = gpfl.objective(identity, batch, configured(pull=0.5, decay=2.0))
    rest = gpfl.penalty(identity, configured(decay=2.0)).item()
    assert with_penalty.item() == pytest.approx(got.item() + rest, abs=1e-4)


def test_penalties_by_hand(identity: SplitModel) -> None:
    equipped(identity)
    set_embeddings(identity, (3.0, 0.0), (0.0, 4.0))
    with torch.no_grad():
        for parameter in identity.kept["bending"].parameters():
            parameter.fill_(0.5)
    # The network has 2 x (4 + 2 + 2 + 2) = 20 parameters of 0.5: squares 5; the embeddings 25.
    assert gpfl.penalty(identity, configured(decay=2.0)).item() == pytest.approx(30.0)
    norm = gpfl.penalty(identity, configured(decay=2.0, penalty="norm"))
    assert norm.item() == pytest.approx(2 * (5 + math.sqrt(5)))


def test_decay_is_the_optimisers_weight_decay(identity: SplitModel) -> None:
    equipped(identity)
    parameters = list(identity.kept["bending"].parameters())
    slopes = torch.autograd.grad(gpfl.penalty(identity, configured(decay=0.3)), parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        torch.testing.assert_close(slope, 0.3 * parameter.detach())


def test_what_learns_and_what_is_uploaded() -> None:
    model = equipped(two_layers())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sent = ALGORITHM.train(model, BATCHES, broadcast_of(model, 0))
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    still = {f"kept.conditions.{name}" for name in ("general_K", "personal_K", "received_CK")}
    assert changed == set(before) - still
    expected = [*model.base.parameters(), gpfl.embeddings_of(model)]
    expected += model.kept["bending"].parameters()
    assert sent.weights_P.tolist() == weights.flat(expected).tolist()
    assert sent.samples == 3


def test_the_head_does_not_travel() -> None:
    model = equipped(two_layers())
    head = model.head.weight.clone()
    wanted = broadcast_of(model, 1, plus=1.0)
    ALGORITHM.load_broadcast(model, BATCHES, wanted)
    assert torch.equal(model.head.weight, head)
    assert weights.flat(gpfl.shared_parameters(model)).tolist() == wanted.weights_P.tolist()


def test_the_server_weighs_by_samples_and_counts_rounds() -> None:
    uploads = [
        WeightsUpload(1, np.zeros(2, np.float32)),
        WeightsUpload(3, np.full(2, 8, np.float32)),
    ]
    state, broadcast = ALGORITHM.aggregate(gpfl.Shared(4, np.zeros(2, np.float32)), uploads)
    assert (state.rounds, broadcast.rounds) == (5, 5)
    assert broadcast.weights_P.tolist() == [6.0, 6.0]


def test_every_client_starts_as_the_server_does() -> None:
    _, broadcast = ALGORITHM.start()
    model = equipped(models.build("cnn", CONFIG.shape, 2, 2, CONFIG.seed))
    assert weights.flat(gpfl.shared_parameters(model)).tolist() == broadcast.weights_P.tolist()
    assert ALGORITHM.sizes == {"P": len(broadcast.weights_P)}
    assert gpfl.build(configured(seed=1)).start()[1].weights_P.tolist() != (
        broadcast.weights_P.tolist()
    )


def test_a_client_without_a_full_batch_sends_what_it_got() -> None:
    model = equipped(two_layers())
    wanted = broadcast_of(model, 1, plus=1.0)
    small = Batches(BATCHES.inputs, BATCHES.labels, 4)
    ALGORITHM.load_broadcast(model, small, wanted)
    sent = ALGORITHM.train(model, small, wanted)
    assert sent.weights_P.tolist() == wanted.weights_P.tolist()
    assert ALGORITHM.predict(model, BATCHES.inputs, None).isfinite().all()


def test_what_is_kept_is_part_of_the_state() -> None:
    model = equipped(two_layers())
    ALGORITHM.train(model, BATCHES, broadcast_of(model, 0))
    ALGORITHM.load_broadcast(model, BATCHES, broadcast_of(model, 1))
    other = equipped(two_layers())
    before = ALGORITHM.predict(other, BATCHES.inputs, None)
    other.load_state_dict(model.state_dict())
    scores = [ALGORITHM.predict(each.eval(), BATCHES.inputs, None) for each in (model, other)]
    assert torch.equal(*scores)
    assert not torch.equal(before, scores[0])


def test_the_personal_route_predicts(identity: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    equipped(identity)
    conditions = gpfl.conditions_of(identity)
    conditions.personal_K.copy_(torch.tensor([1.0, 2.0]))
    conditions.general_K.copy_(torch.tensor([100.0, 100.0]))
    monkeypatch.setattr(
        identity.kept["bending"],
        "forward",
        lambda features_BK, condition_K: condition_K * features_BK,
    )
    got = ALGORITHM.predict(identity, torch.tensor([[3.0, 4.0]]), None)
    assert got.tolist() == [[3.0, 8.0]]


def test_the_exported_prediction_is_the_same(tmp_path: Path) -> None:
    model = equipped(models.build("cnn", CONFIG.shape, 2, 2, CONFIG.seed))
    ALGORITHM.load_broadcast(model, BATCHES, broadcast_of(model, 1, plus=0.01))
    scores = Classifier(model, lambda any_model, x: ALGORITHM.predict(any_model, x, None), False)
    inputs = torch.randn(5, *CONFIG.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = ALGORITHM.predict(model.eval(), inputs, None)
        torch.testing.assert_close(scores(inputs), plain, atol=1e-5, rtol=1e-5)
    path = tmp_path / "model.onnx"
    export(scores, path, shape=CONFIG.shape, class_names=("a", "b"), pixels=False, facts={})
    assert check(path, scores, inputs) < 1e-4


def test_the_shared_loss_is_the_plain_heads(identity: SplitModel) -> None:
    got = ALGORITHM.loss(identity, (torch.tensor([[1.0, 1.0]]), torch.tensor([0])), None)
    assert got.item() == pytest.approx(math.log(2))
