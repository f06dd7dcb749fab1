"""What the engine keeps: calls, rooms and bans in SQLite."""
