"""The doors of single commands: simulate, compare, partition, models, algorithms."""
