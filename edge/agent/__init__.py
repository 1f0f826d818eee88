"""A device's process: its data, its model, its rounds, and the classifier it ends with."""
