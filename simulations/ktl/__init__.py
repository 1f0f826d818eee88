"""Single-client knowledge transfer: one device, few samples a class, and the cloud's generator."""
