import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedgen
from edgeloop.algorithms.fedgen import Generator, HeadUpload, Knowledge, State
from edgeloop.knowledge import weights
from edgeloop.models import SplitModel
from edgeloop.protocol import wire
from edgeloop.seeds import derive
from edgeloop.training.sgd import cross_entropy

CONFIG = fedgen.Config(
    classes=2, width=2, shape=(1, 16, 16), noise_dim=3, hidden_dim=4, local_lr=0.1, server_epochs=3
)
PERSISTENT = dataclasses.replace(CONFIG, persist=True, server_lr=0.05)


def upload(samples: int, counts: tuple[int, int], value: float) -> HeadUpload:
    head_CK = np.array([[value, 1], [2, 3]], np.float32)
    return HeadUpload(samples, head_CK, np.array([-value, 4], np.float32), np.array(counts))


UPLOADS = [upload(10, (2, 3), 0.0), upload(30, (5, 0), 8.0)]


def test_heads_count_by_their_samples_and_the_pool_by_what_was_trained_on() -> None:
    algorithm = fedgen.build(CONFIG)
    state, broadcast = algorithm.aggregate(algorithm.start()[0], UPLOADS)
    # (10 x 0 + 30 x 8) / 40 = 6
    assert broadcast.head_CK.tolist() == [[6.0, 1.0], [2.0, 3.0]]
    assert broadcast.bias_C.tolist() == [-6.0, 4.0]
    # Seven and three samples of ten.
    np.testing.assert_allclose(broadcast.pool_C, [0.7, 0.3], rtol=1e-6)
    assert state.rounds == 1


def test_at_first_there_is_the_first_clients_head_and_no_pool() -> None:
    _, broadcast = fedgen.build(CONFIG).start()
    first = models.build("cnn", CONFIG.shape, 2, 2)
    assert broadcast.head_CK.tolist() == first.head.weight.tolist()
    assert broadcast.bias_C.tolist() == first.head.bias.tolist()
    assert broadcast.pool_C.tolist() == [0.0, 0.0]


def test_the_generator_by_hand() -> None:
    generator = Generator(dataclasses.replace(CONFIG, noise_dim=1, hidden_dim=1))
    # Inner (2, 3, 5) on noise and the two classes, bias 1; scale 2, shift 1; outer (1, -1), (0, 4).
    weights.assign(generator.parameters(), [2, 3, 5, 1, 2, 1, 1, -1, 0, 4])
    found = generator(torch.tensor([0, 1]), torch.tensor([[0.5], [1.5]]))
    # Hidden 5 and 9, normal -1 and 1, scaled -1 and 3, after ReLU 0 and 3.
    torch.testing.assert_close(found, torch.tensor([[0.0, 4.0], [3.0, 1.0]]), rtol=0, atol=1e-4)
    alone = generator(torch.tensor([1]), torch.tensor([[0.5]]))
    torch.testing.assert_close(alone, torch.tensor([[1.0, 3.0]]))


def test_the_first_generator_is_the_released_codes() -> None:
    """Its own layers, drawn from seed 0 after the one number that its data loader takes."""
    torch.manual_seed(0)
    torch.empty((), dtype=torch.int64).random_()
    layers = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    assert (
        weights.flat(layers.parameters()).tolist() == Generator(CONFIG).flat_parameters().tolist()
    )
    labels, noise = torch.tensor([0, 1, 1]), torch.rand(3, 3)
    expected = layers(torch.cat([noise, F.one_hot(labels, 2)], dim=1))
    torch.testing.assert_close(Generator(CONFIG)(labels, noise), expected)


def test_labels_follow_the_pool_and_noise_is_uniform() -> None:
    random = torch.Generator().manual_seed(0)
    labels, noise = Generator(CONFIG).sample(torch.tensor([0.25, 0.75]), 4000, random)
    assert labels.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert 0 <= noise.min() < 0.01
    assert 0.99 < noise.max() < 1
    assert noise.mean().item() == pytest.approx(0.5, abs=0.03)


def pools(broadcast: Knowledge, labels: list[int]) -> set[int]:
    """Train a client with these labels; return the classes that its head was taught."""
    seen: set[int] = set()
    model = SplitModel(nn.Flatten(), 2, 2, 2)

    def note(features_BK: Tensor, labels_B: Tensor) -> Tensor:
        seen.update(labels_B.tolist())
        return features_BK.sum() * 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedgen, "agreement", lambda model, *made: note(*made))
        batches = Batches(torch.ones(len(labels), 2), torch.tensor(labels), 5)
        fedgen.build(CONFIG).train(model, batches, broadcast)
    return seen


def test_before_there_is_a_pool_a_client_draws_from_its_own_labels() -> None:
    _, first = fedgen.build(CONFIG).start()
    # The sixth sample is in no full batch.
    assert pools(first, [1, 1, 1, 1, 1, 0]) == {1}
    assert pools(dataclasses.replace(first, pool_C=np.array([1, 0], np.float32)), [1] * 5) == {0}


def test_a_client_learns_from_its_samples_and_its_head_from_generated_ones(
    identity: SplitModel,
) -> None:
    algorithm = fedgen.build(CONFIG)
    broadcast = dataclasses.replace(algorithm.start()[1], pool_C=np.array([0.5, 0.5], np.float32))
    inputs, labels = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([0, 1])
    batches = Batches(inputs, labels, 2, seed=5)
    random = torch.Generator().manual_seed(derive(5, "labels"))
    drawn, noise = Generator(CONFIG).sample(torch.tensor([0.5, 0.5]), 2, random)
    both = F.cross_entropy(identity(inputs)[1], labels) + F.cross_entropy(
        identity.head(Generator(CONFIG)(drawn, noise).detach()), drawn
    )
    slopes = torch.autograd.grad(both, identity.own())
    expected = [old - 0.1 * slope for old, slope in zip(identity.own(), slopes, strict=True)]
    sent = algorithm.train(identity, batches, broadcast)
    np.testing.assert_allclose(sent.head_CK, expected[0].detach(), rtol=1e-5)
    np.testing.assert_allclose(sent.bias_C, expected[1].detach(), rtol=1e-5, atol=1e-6)
    assert (sent.samples, sent.counts_C.tolist()) == (2, [1, 1])


def test_every_batch_is_another_and_the_seed_decides() -> None:
    def drawn(seed: int) -> list[list[list[float]]]:
        batches = Batches(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), 2, seed)
        made = fedgen.features(Generator(CONFIG), torch.tensor([0.5, 0.5]), batches)
        return [features.tolist() for features, _ in islice(made, 2)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0)[0] != drawn(0)[1]


def test_as_released_the_generator_stays_the_first() -> None:
    algorithm = fedgen.build(CONFIG)
    first, begun = algorithm.start()
    state, broadcast = algorithm.aggregate(first, UPLOADS)
    assert state.generator_G.tolist() == begun.generator_G.tolist()
    assert broadcast.generator_G.tolist() == begun.generator_G.tolist()


def test_what_is_learned_makes_all_heads_agree() -> None:
    """Three steps of Adam on the cross-entropy of the heads' logits, averaged by samples."""
    algorithm = fedgen.build(PERSISTENT)
    begun, _ = algorithm.start()
    generator = Generator(CONFIG)
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(derive(0, "server", 0))
    for _ in range(3):
        labels, noise = generator.sample(torch.tensor([0.7, 0.3]), 10, random)
        features = generator(labels, noise)
        logits = torch.zeros(10, 2)
        for part, sent in zip((0.25, 0.75), UPLOADS, strict=True):
            head, bias = torch.tensor(sent.head_CK), torch.tensor(sent.bias_C)
            logits = logits + part * F.linear(features, head, bias)
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    state, broadcast = algorithm.aggregate(begun, UPLOADS)
    # Normalisation takes the inner bias out again: its slope is 0, and Adam steps by rounding.
    kept = np.delete(np.arange(len(begun.generator_G)), np.s_[20:24])
    np.testing.assert_allclose(
        broadcast.generator_G[kept], generator.flat_parameters()[kept], atol=1e-4
    )
    assert state.generator_G is broadcast.generator_G
    assert begun.generator_G.tolist() == Generator(CONFIG).flat_parameters().tolist()


def test_learning_goes_on_from_the_state_with_draws_of_its_own() -> None:
    def learned(config: fedgen.Config, state: State) -> str:
        return wire.fingerprint(fedgen.build(config).aggregate(state, UPLOADS)[1])

    begun = State(0, Generator(CONFIG).flat_parameters())
    later = dataclasses.replace(begun, rounds=1)
    seeded = dataclasses.replace(PERSISTENT, seed=1)
    half = dataclasses.replace(begun, generator_G=begun.generator_G * np.float32(0.5))
    assert learned(PERSISTENT, begun) == learned(PERSISTENT, begun)
    found = {learned(PERSISTENT, state) for state in (begun, later, half)}
    assert len(found | {learned(seeded, begun)}) == 4


def test_where_nobody_trained_nothing_is_learned() -> None:
    algorithm = fedgen.build(PERSISTENT)
    begun, _ = algorithm.start()
    _, broadcast = algorithm.aggregate(begun, [upload(3, (0, 0), 1.0)])
    assert broadcast.pool_C.tolist() == [0.0, 0.0]
    assert broadcast.generator_G.tolist() == begun.generator_G.tolist()


def test_a_client_without_a_full_batch_sends_the_head_back(identity: SplitModel) -> None:
    algorithm = fedgen.build(CONFIG)
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4)
    _, broadcast = algorithm.start()
    algorithm.load_broadcast(identity, batches, broadcast)
    sent = algorithm.train(identity, batches, broadcast)
    assert sent.head_CK.tolist() == broadcast.head_CK.tolist()
    assert (sent.samples, sent.counts_C.tolist()) == (3, [0, 0])


def test_classification_and_loss_are_the_models_own(identity: SplitModel) -> None:
    algorithm = fedgen.build(CONFIG)
    assert algorithm.predict(identity, torch.tensor([[3.0, 5.0]]), None).tolist() == [[3.0, 5.0]]
    assert algorithm.loss is cross_entropy


@pytest.mark.parametrize(("samples", "counts"), [(-1, (0, 0)), (3, (-1, 2)), (3, (2, 2))])
def test_counts_that_cannot_be_are_refused(samples: int, counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        upload(samples, counts, 1.0)


def test_a_negative_share_is_refused() -> None:
    _, broadcast = fedgen.build(CONFIG).start()
    with pytest.raises(ValueError, match="negative share"):
        dataclasses.replace(broadcast, pool_C=np.array([-1, 2], np.float32))
