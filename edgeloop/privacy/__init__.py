"""Differential privacy of what a client sends: its round, the noise, what that spends."""
