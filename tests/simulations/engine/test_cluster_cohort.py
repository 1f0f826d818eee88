"""A run's clients on a real Ray cluster of two nodes: the bits of one process, whatever is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.processes import running

# A process of its own: Ray's threads and warnings stay out of the tests'.
PROGRAM = """
import json, sys
from pathlib import Path
import psutil
from ray.cluster_utils import Cluster
from simulations.engine.run import simulate
from simulations.settings import RunSettings

store = 80_000_000  # bytes
cluster = Cluster(True, head_node_args={"num_cpus": 1, "object_store_memory": store})
second = cluster.add_node(num_cpus=1, object_store_memory=store)
where = {"cluster": cluster.address, "workers": 2}
settings = RunSettings.model_validate({**json.loads(sys.argv[1]), **where})

def workers():
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[0].startswith("ray::ClusterWorker"):
                yield process
        except (psutil.Error, IndexError):
            pass

def watch(done, accuracy):
    if done == 2:
        cluster.remove_node(second, allow_graceful=False)
    if done == 3:
        next(workers()).kill()

summary = simulate(settings, Path(sys.argv[2]), watch)
print(json.dumps([summary["knowledge_sha256"], summary["accuracy_by_round"]]))
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}


def on_cluster(settings: RunSettings, folder: Path) -> tuple[list[Any], str]:
    """Run on a cluster that loses a node and then a worker; return what is said of it."""
    words = [sys.executable, "-c", PROGRAM, settings.model_dump_json(), str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(words, env=ENVIRONMENT, **pipes) as process:
        out, problems = process.communicate(timeout=240)
    assert process.returncode == 0, problems
    found: list[Any] = json.loads(out.splitlines()[-1])
    return found, problems


def test_clients_on_a_cluster_have_the_bits_of_one_process(
    settings: RunSettings, tmp_path: Path
) -> None:
    longer = settings.model_copy(update={"rounds": 4})
    (knowledge, accuracies), said = on_cluster(longer, tmp_path / "cluster")
    expected = simulate(longer, tmp_path / "here", lambda done, _: None)
    assert knowledge == expected["knowledge_sha256"]
    assert accuracies == expected["accuracy_by_round"]
    assert "the cluster has lost a worker" in said
    assert "the cluster has lost the models" in said
