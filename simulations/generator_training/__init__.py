"""How the embedded generator was made: its networks, its training, its score, its files."""
