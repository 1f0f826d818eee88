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
