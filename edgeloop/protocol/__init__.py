"""What is said between aggregator and devices, as contracts and bytes; no clock, no I/O."""
