import os

import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.models import build
from edgeloop.training.threads import choose


def test_a_number_is_taken_and_a_measurement_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("cnn", (1, 28, 28), 3, 8)
    batches = Batches(torch.randn(20, 1, 28, 28), torch.arange(20) % 3, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        assert choose(2, model, batches) == torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert choose("auto", model, batches) == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert choose("auto", model, batches) in {1, os.cpu_count()}
        assert choose("auto", model, batches) == torch.get_num_threads()
    finally:
        torch.set_num_threads(1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
