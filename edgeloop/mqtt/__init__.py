"""One healing connection to an MQTT broker, the only place that knows paho."""
