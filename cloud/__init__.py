"""The cloud side: the aggregator, the generator service and the operator."""

import edgeloop as _quiet  # noqa: F401 - turns telemetry off before any other import
