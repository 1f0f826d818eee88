"""What `edgeloop server` answers, and a client that asks it; neither needs a web framework."""
