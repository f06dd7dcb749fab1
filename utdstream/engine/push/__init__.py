"""What the engine tells without being asked: rings over MQTT, call events to browsers."""
