"""The device side: the agent."""

import edgeloop as _quiet  # noqa: F401 - turns telemetry off before any other import
