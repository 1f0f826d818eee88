"""MLflow: a run is a run of the experiment "edgeloop" at a tracking URI."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from simulations.results.folder import WHOLE, flat
from simulations.results.measurements import Row
from simulations.sinks.sink import RESULTS, numbers

EXPERIMENT = "edgeloop"
TAG = "edgeloop.run"
"""Tells a run that continues from any other: a digest of its folder and its configuration."""
LONGEST, MOST = 500, 100
"""Characters of a parameter, and parameters a call, that every MLflow server takes."""


class MLflow:
    """Logs the configuration as parameters and every metric of a round at its step.

    A run that continues is found by its tag, and a round that it has already is not logged again.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None
        self._run = ""
        self._known: set[int] = set()

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return f"mlflow:{self._uri}"

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Find the run, or make it."""
        self._client = MlflowClient(tracking_uri=self._uri)
        identity = json.dumps([str(folder.resolve()), config], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()
        experiment = _experiment(self._client)
        wanted = f"tags.`{TAG}` = '{digest}' and attributes.status = 'RUNNING'"
        found = self._client.search_runs([experiment], wanted, max_results=1)
        self._run = found[0].info.run_id if found else self._new(experiment, folder, config, digest)
        known = self._client.get_metric_history(self._run, "accuracy") if found else []
        self._known = {metric.step for metric in known}
        for row in rows:
            self.row(row)

    def _new(self, experiment: str, folder: Path, config: Mapping[str, Any], digest: str) -> str:
        client, name = self._open(), folder.resolve().name
        run: str = client.create_run(experiment, run_name=name, tags={TAG: digest}).info.run_id
        values = {key: value for key, value in flat(config).items() if key not in WHOLE}
        params = [Param(key, str(value)[:LONGEST]) for key, value in values.items()]
        for start in range(0, len(params), MOST):
            client.log_batch(run, params=params[start : start + MOST])
        return run

    def row(self, row: Row) -> None:
        """Log a round's metrics at its step, in one call."""
        if row.round not in self._known:
            self._log(numbers(row), row.round)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Log the results, and mark the run as finished."""
        self._log({name: summary[name] for name in RESULTS if summary[name] is not None}, 0)
        self._open().set_terminated(self._run)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._open().log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Leave a run that did not finish as running, so that it continues."""

    def _open(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("it got a round before it got a run")
        return self._client


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    made: str = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    return made


def make(place: str) -> MLflow:
    """Return the sink for a tracking URI."""
    return MLflow(place)
