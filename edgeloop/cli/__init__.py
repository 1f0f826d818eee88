"""The `edgeloop` command and what a person sees of it."""
