"""How a run goes: its clients, its rounds, its checkpoints, and many runs at a time."""
