import pytest

from benchmarks import cluster


def test_one_and_two_workers_are_measured_and_end_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray: tests/simulations/engine/test_cluster_cohort.py has a cluster."""
    monkeypatch.setattr(cluster, "PLACES", {"in processes": None})
    asked = {"algorithm": "fedproto", "data": "fashion-sample", "partition": "iid"}
    one, two = cluster.measure({**asked, "clients": 2, "samples": 100, "width": 8}, rounds=1)
    assert (one["workers"], two["workers"]) == (1, 2)
    assert one["state"] == two["state"]
    assert min(one["seconds"], two["seconds"]) > 0
