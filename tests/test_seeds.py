from concurrent.futures import ThreadPoolExecutor

import torch

from edgeloop.models import build
from edgeloop.seeds import derive


def test_a_seed_is_a_function_of_its_path() -> None:
    assert derive(0, "client", "a", "round", 1) == derive(0, "client", "a", "round", 1)


def test_other_paths_other_seeds() -> None:
    seeds = {
        derive(0, "client", "a", 1),
        derive(1, "client", "a", 1),
        derive(0, "client", "b", 1),
        derive(0, "client", "a", 2),
        derive(0, "client", "a", "1"),
        derive(0, "client", "a"),
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_threads_that_draw_at_once_draw_what_each_would_alone() -> None:
    def weights(seed: int) -> bytes:
        return bytes(build("resnet8", (1, 28, 28), 3, seed=seed).head.weight.detach().numpy())

    alone = [weights(seed) for seed in range(8)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(weights, range(8))) == alone
    assert torch.equal(torch.get_rng_state(), state)
