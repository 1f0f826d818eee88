"""What every process needs of its machine: configuration, files, logs, traces, other processes."""
