"""An operator with its API server, as in the operator's own tests."""

from tests.cloud.operator.conftest import cluster, server, start_operator

__all__ = ["cluster", "server", "start_operator"]
