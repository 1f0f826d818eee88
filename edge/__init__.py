"""The device side: the agent."""
