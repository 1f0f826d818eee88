"""The main job on one machine: a broker, an aggregator and six devices, each a process."""
