"""Many devices in one process, to see what a broker and an aggregator take."""
