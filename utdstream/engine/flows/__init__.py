"""What follows from a request: the calls, rooms and bans of one engine over time."""
