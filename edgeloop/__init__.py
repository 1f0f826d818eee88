"""Cloud-edge knowledge transfer: one implementation of each algorithm, simulated or deployed."""
