"""What a device's owner does with an agent: set it up, look for what is wrong, have it run."""
