"""Whole federated runs on one machine."""
