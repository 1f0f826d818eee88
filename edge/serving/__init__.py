"""`edgeloop serve`: the classifier in use answers over HTTP and MQTT, while it is exchanged."""
