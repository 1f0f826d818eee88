"""Shape suffixes: N samples, C classes."""

import math

import pytest
import torch
from torch import Tensor

from edgeloop import algorithms
from edgeloop.algorithm import softmax_scores
from edgeloop.client import Client, Report
from edgeloop.data.sample import fashion_sample
from edgeloop.data.samples import ClientData, Samples, to_float
from edgeloop.models import build
from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope
from edgeloop.training.evaluation import evaluate, micro_auc

NOTHING = math.nan


@pytest.mark.parametrize(
    ("scores_NC", "labels_N", "expected"),
    [
        # Right 0.9 and 0.6, wrong 0.1 and 0.4: every right one is above every wrong one.
        ([[0.9, 0.1], [0.4, 0.6]], [0, 1], 1.0),
        # Right 0.9 and 0.4, wrong 0.1 and 0.6: three pairs of four.
        ([[0.9, 0.1], [0.4, 0.6]], [0, 0], 0.75),
        ([[0.9, 0.1], [0.4, 0.6]], [1, 0], 0.0),
        # All alike: four ties, worth a half each.
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1], 0.5),
        # Right 2 and 1; wrong 1, 0, 2, 0: 3.5 of the first's pairs, 2.5 of the second's, of 8.
        ([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], [0, 1], 6 / 8),
        # Negative distances: right -1, wrong -2 and -1.
        ([[-2.0, -1.0, -1.0]], [2], 1.5 / 2),
    ],
)
def test_the_area_by_hand(
    scores_NC: list[list[float]], labels_N: list[int], expected: float
) -> None:
    assert micro_auc(torch.tensor(scores_NC), torch.tensor(labels_N)) == expected


@pytest.mark.parametrize(
    ("scores_NC", "labels_N"),
    [
        (torch.zeros(0, 3), []),
        (torch.zeros(2, 1), [0, 0]),
        (torch.tensor([[0.0, -math.inf]]), [0]),
        (torch.tensor([[0.0, math.nan]]), [0]),
    ],
)
def test_where_it_has_no_value(scores_NC: Tensor, labels_N: list[int]) -> None:
    assert math.isnan(micro_auc(scores_NC, torch.tensor(labels_N, dtype=torch.int64)))


def test_it_is_the_share_of_pairs_that_are_the_right_way_round() -> None:
    draw = torch.Generator().manual_seed(0)
    scores_NC = torch.randint(0, 9, (40, 5), generator=draw).float()  # many ties
    labels_N = torch.randint(0, 5, (40,), generator=draw)
    right = torch.nn.functional.one_hot(labels_N, 5).bool()
    above = scores_NC[right][:, None] - scores_NC[~right][None, :]
    expected = ((above > 0).double() + (above == 0).double() / 2).mean().item()
    assert micro_auc(scores_NC, labels_N) == pytest.approx(expected, abs=1e-15)


def test_every_sample_is_scored_once_in_batches() -> None:
    inputs = torch.eye(2).repeat(200, 1)
    sizes: list[int] = []

    def predict(inputs_B: Tensor) -> Tensor:
        sizes.append(len(inputs_B))
        return inputs_B

    labels_N = torch.tensor([0, 1]).repeat(200)
    labels_N[0] = 1
    found = evaluate(predict, inputs, labels_N)
    assert sizes == [256, 144]
    assert found.correct == 399
    # Of 400 right scores one is 0, of 400 wrong ones one is 1: ties with 399, and with 1.
    wins, ties, losses = 399 * 399, 399 + 399, 1
    assert found.auc == (wins + ties / 2) / (wins + ties + losses)


def test_a_member_reports_it_with_prototypes_too() -> None:
    images, labels = fashion_sample().inputs[:40], fashion_sample().labels[:40]
    samples = Samples(to_float(images), labels)
    algorithm = algorithms.load("fedproto", classes=10, width=8)
    model = build("cnn", samples.inputs.shape[1:], 10, 8, 0)
    client = Client("a", algorithm, model, ClientData(samples, samples), batch_size=10, seed=0)
    state, broadcast = algorithm.start()
    first = client.answer(0, broadcast)
    assert math.isnan(first.report.test_auc)  # no prototypes, so no scores
    _, broadcast = algorithm.aggregate(state, [first.upload])
    assert 0.5 < client.finish(broadcast).test_auc <= 1


def test_what_is_compared_may_be_another_than_what_is_predicted() -> None:
    """Of two samples alike in their scores' order, softmax sees which is the surer one."""
    inputs = torch.tensor([[9.0, 8.0], [0.0, 2.0]])
    labels = torch.tensor([0, 1])
    # Right 9 and 2, wrong 8 and 0: three pairs of four; as softmax every right one is above.
    assert evaluate(lambda scores_BC: scores_BC, inputs, labels)[:2] == (2, 0.75)
    assert evaluate(lambda scores_BC: scores_BC, inputs, labels, softmax_scores)[:2] == (2, 1.0)


@pytest.mark.parametrize("name", ["ditto", "fedcp", "gpfl", "fedavg", "apfl", "feddbe"])
def test_a_member_compares_as_the_released_code_does(name: str) -> None:
    """PFLlib takes the softmax first for Ditto, FedCP and GPFL, and for no other."""
    images, labels = fashion_sample().inputs[:40], fashion_sample().labels[:40]
    samples = Samples(to_float(images), labels)
    algorithm = algorithms.load(name, classes=10, width=8, shape=(1, 28, 28))
    model = build("cnn", (1, 28, 28), 10, 8, 0)
    client = Client("a", algorithm, model, ClientData(samples, samples), batch_size=10, seed=0)
    with torch.no_grad():
        model.head.weight.mul_(100)  # so that the two differ
    found = client.answer(0, algorithm.start()[1], trains=False).report
    scores_NC = algorithm.predict(client.model, torch.from_numpy(samples.inputs), None)
    both = scores_NC, scores_NC.softmax(1)
    raw, soft = (micro_auc(each.detach(), torch.from_numpy(labels)) for each in both)
    assert abs(raw - soft) > 0.001
    assert found.test_auc == pytest.approx(soft if name in ("ditto", "fedcp", "gpfl") else raw)
    assert found.test_correct == int((scores_NC.argmax(1) == torch.from_numpy(labels)).sum())


@pytest.mark.parametrize("auc", [0.0, 0.8125, 1.0, NOTHING])
def test_a_report_carries_it_over_the_wire(auc: float) -> None:
    payload = wire.encode(Envelope("t", "r", 0, "a"), Report(1, 2, 3, 0.1, 0.2, auc))
    found = wire.decode(payload, Report)[Report].test_auc
    assert math.isnan(found) if math.isnan(auc) else found == auc


@pytest.mark.parametrize("auc", [-0.25, 1.25])
def test_an_area_that_cannot_be_is_refused(auc: float) -> None:
    with pytest.raises(ValueError, match="an AUC that cannot be"):
        Report(1, 2, 3, 0.1, 0.2, auc)
