"""The self-hosted engine: the REST interface, the calls, the rooms, and the servers beside it."""
