"""Measurements: how long a round takes, and whether accuracies are the reference's."""
