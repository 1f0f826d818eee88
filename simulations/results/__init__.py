"""What a run leaves: its folder, its rows, and finished runs read back and put together."""
