"""Hyperparameters for one's own scenario, judged by samples held out of the training data."""
