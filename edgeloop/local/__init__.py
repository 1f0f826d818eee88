"""What a machine runs for itself: ports, processes that end with their parent, an MQTT broker."""
