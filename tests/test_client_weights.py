import numpy as np

from edgeloop import algorithms, models
from edgeloop.client import Client
from edgeloop.data import ClientData, Samples


def test_weights_are_a_copy_that_training_does_not_change() -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 1, 16, 16)).astype(np.float32)
    samples = Samples(inputs, np.arange(8) % 2)
    model = models.build("cnn-batchnorm4", (1, 16, 16), 2, width=8)
    algorithm = algorithms.load("local", classes=2, width=8)
    client = Client("one", algorithm, model, ClientData(samples, samples), batch_size=4, seed=0)
    held = client.weights()
    memory = model.state_dict()
    assert not any(np.shares_memory(held[name], memory[name].numpy()) for name in memory)
    assert all(array.flags.c_contiguous for array in held.values())
    before = {name: array.copy() for name, array in held.items()}
    client.answer(0, algorithm.start()[1])
    assert all(np.array_equal(held[name], before[name]) for name in held)
    assert any(not np.array_equal(held[name], array) for name, array in client.weights().items())
