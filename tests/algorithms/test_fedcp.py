import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.agent.export import Classifier, check, export
from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedcp
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import WeightsUpload
from edgeloop.models import SplitModel

CONFIG = fedcp.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1)
ALGORITHM = fedcp.build(CONFIG)


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)


def equipped(model: SplitModel) -> SplitModel:
    ALGORITHM.init_client_state(model)
    return model


def policy_of(model: SplitModel) -> fedcp.Policy:
    return cast(fedcp.Policy, model.kept["policy"])


def shared_head(model: SplitModel) -> nn.Linear:
    return cast(nn.Linear, model.kept["head"])


def fixed_scores(model: SplitModel, monkeypatch: pytest.MonkeyPatch, *sides: float) -> None:
    """Let the policy give every feature these scores, and training draw no noise."""

    def scores(features_BK: Tensor) -> Tensor:
        return torch.tensor(sides).reshape(1, 2, 1).expand(len(features_BK), 2, 2)

    monkeypatch.setattr(policy_of(model), "forward", scores)
    monkeypatch.setattr(fedcp, "gumbel", lambda shape, noise: torch.zeros(*shape))


def broadcast_of(model: SplitModel, rounds: int, plus: float = 0.0) -> fedcp.Shared:
    return fedcp.Shared(rounds, weights.flat(fedcp.shared_parameters(model)) + np.float32(plus))


BATCHES = Batches(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]), 2, seed=3)


def test_the_policys_scores_by_hand() -> None:
    policy = fedcp.Policy(torch.tensor([3.0, 4.0]))
    assert policy.context_K.tolist() == pytest.approx([0.6, 0.8])
    with torch.no_grad():
        policy.wide.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]))
        policy.wide.bias.zero_()
    # Features (4, 3) in context: (2.4, 2.4); wide: (2.4, 2.4, -2.4, -2.4), mean 0, deviation 2.4.
    # Normalised, they are 1 and -1, which relu makes 0.
    scores = policy(torch.tensor([[4.0, 3.0]]))
    expected = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_both_heads_take_their_part_by_hand(
    identity: SplitModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    equipped(identity)
    with torch.no_grad():
        shared_head(identity).weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        shared_head(identity).bias.copy_(torch.tensor([10.0, 20.0]))
    fixed_scores(identity, monkeypatch, math.log(3), 0.0)
    # Masks 3/4 and 1/4: the personal head sees (3, 6) and gives it back; the global one sees
    # (1, 2), swaps it and adds its bias: (12, 21).
    got = ALGORITHM.predict(identity, torch.tensor([[4.0, 8.0]]), None)
    assert got.tolist()[0] == pytest.approx([15.0, 27.0])


def test_the_objective_by_hand(identity: SplitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    equipped(identity)
    fixed_scores(identity, monkeypatch, 0.0, 0.0)
    # The frozen base's features are one more than the base's, in both dimensions.
    monkeypatch.setattr(identity.kept["base"], "forward", lambda inputs: inputs + 1)
    batch = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
    # Logits (1, 1): log 2. One pair of points at squared distance 2: 2 - 2 k, four kernels.
    away = sum(2 - 2 * math.exp(-2 / (2 * width)) for width in (10, 15, 20, 50))
    got = fedcp.objective(identity, batch, torch.Generator(), 5.0)
    assert got.item() == pytest.approx(math.log(2) + 5 * away, abs=1e-5)


def test_the_noise_is_gumbels_and_of_the_seed() -> None:
    drawn = fedcp.gumbel((200, 2, 50), torch.Generator().manual_seed(1))
    assert drawn.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert drawn.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    assert drawn.isfinite().all()
    again = fedcp.gumbel((200, 2, 50), torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)


def test_the_seed_of_the_round_decides_the_noise() -> None:
    def sent(seed: int) -> list[float]:
        model = equipped(two_layers())
        batches = Batches(BATCHES.inputs, BATCHES.labels, 2, seed)
        upload: WeightsUpload = ALGORITHM.train(model, batches, broadcast_of(model, 0))
        values: list[float] = upload.weights_P.tolist()
        return values

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)


def test_a_prediction_is_the_same_each_time() -> None:
    model = equipped(two_layers()).eval()
    first, second = (ALGORITHM.predict(model, BATCHES.inputs, None) for _ in range(2))
    assert torch.equal(first, second)


def test_what_learns_and_what_is_frozen() -> None:
    model = equipped(two_layers())
    with torch.no_grad():
        shared_head(model).weight.neg_()  # with equal heads no mask would matter
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ALGORITHM.train(model, BATCHES, broadcast_of(model, 0))
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    learning = {"base.1.weight", "base.1.bias", "head.weight", "head.bias"}
    policy = {
        f"kept.policy.{part}.{kind}" for part in ("wide", "norm") for kind in ("weight", "bias")
    }
    # The global head changes after training alone, where it meets the personal one.
    assert changed == learning | policy | {"kept.head.weight", "kept.head.bias"}


def test_the_uploaded_head_is_half_personal(identity: SplitModel) -> None:
    equipped(identity)
    with torch.no_grad():
        shared_head(identity).weight.fill_(3.0)
    batches = Batches(torch.zeros(1, 2), torch.tensor([0]), 2)
    sent = ALGORITHM.train(identity, batches, broadcast_of(identity, 0))
    # Nothing was trained: (1 + 3) / 2 and (0 + 3) / 2; identity's base has no parameters.
    assert sent.samples == 1
    assert sent.weights_P[:4].tolist() == [2.0, 1.5, 1.5, 2.0]
    assert identity.head.weight.flatten().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_what_is_received(identity: SplitModel) -> None:
    model = equipped(two_layers())
    personal = model.head.weight.clone()
    with torch.no_grad():
        shared_head(model).weight.neg_()
    context = policy_of(model).context_K.clone()
    ALGORITHM.load_broadcast(model, BATCHES, broadcast_of(model, 0))
    assert torch.equal(policy_of(model).context_K, context)
    wanted = broadcast_of(model, 1, plus=1.0)
    ALGORITHM.load_broadcast(model, BATCHES, wanted)
    assert weights.flat(fedcp.shared_parameters(model)).tolist() == wanted.weights_P.tolist()
    for frozen, received in zip(
        model.kept["base"].parameters(), model.base.parameters(), strict=True
    ):
        assert torch.equal(frozen, received)
    assert torch.equal(model.head.weight, personal)
    expected = F.normalize(personal.sum(0), dim=0)
    torch.testing.assert_close(policy_of(model).context_K, expected.detach())


def test_the_first_context_is_the_references() -> None:
    torch.manual_seed(5)
    drawn = torch.rand(1, 2)[0]
    context = fedcp.initial_policy(fedcp.Config(classes=2, width=2, seed=5)).context_K
    torch.testing.assert_close(context, drawn / drawn.norm())


def test_the_server_weighs_by_samples_and_counts_rounds() -> None:
    uploads = [
        WeightsUpload(1, np.zeros(2, np.float32)),
        WeightsUpload(3, np.full(2, 8, np.float32)),
    ]
    state, broadcast = ALGORITHM.aggregate(fedcp.Shared(4, np.zeros(2, np.float32)), uploads)
    assert (state.rounds, broadcast.rounds) == (5, 5)
    assert broadcast.weights_P.tolist() == [6.0, 6.0]


def test_every_client_starts_as_the_server_does() -> None:
    _, broadcast = ALGORITHM.start()
    model = equipped(models.build("cnn", CONFIG.shape, 2, 2, CONFIG.seed))
    assert weights.flat(fedcp.shared_parameters(model)).tolist() == broadcast.weights_P.tolist()
    assert ALGORITHM.sizes == {"P": len(broadcast.weights_P)}
    other = fedcp.build(fedcp.Config(classes=2, width=2, shape=(1, 16, 16), seed=1))
    assert other.start()[1].weights_P.tolist() != broadcast.weights_P.tolist()


def test_what_is_kept_is_part_of_the_state() -> None:
    model = equipped(two_layers())
    ALGORITHM.train(model, BATCHES, broadcast_of(model, 0))
    ALGORITHM.load_broadcast(model, BATCHES, broadcast_of(model, 1))
    other = equipped(two_layers())
    other.load_state_dict(model.state_dict())
    scores = [ALGORITHM.predict(each.eval(), BATCHES.inputs, None) for each in (model, other)]
    assert torch.equal(*scores)


def test_statistics_of_batch_normalisation_do_not_travel() -> None:
    base = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2))
    model = equipped(SplitModel(base, 2, 2, features=2))
    sent = ALGORITHM.train(model, BATCHES, broadcast_of(model, 0))
    assert model.state_dict()["base.1.running_mean"].tolist() != [0.0, 0.0]
    count = len(sent.weights_P)
    assert count == sum(parameter.numel() for parameter in fedcp.shared_parameters(model))
    ALGORITHM.load_broadcast(model, BATCHES, fedcp.Shared(1, np.zeros(count, np.float32)))
    assert model.state_dict()["base.1.running_mean"].tolist() != [0.0, 0.0]


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


def test_the_shared_loss_is_the_personal_heads(identity: SplitModel) -> None:
    got = ALGORITHM.loss(identity, (torch.tensor([[1.0, 1.0]]), torch.tensor([0])), None)
    assert got.item() == pytest.approx(math.log(2))
