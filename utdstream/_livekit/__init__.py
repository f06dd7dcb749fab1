"""The LiveKit core behind the blocking facade: the only place of the SDK where asyncio lives."""
