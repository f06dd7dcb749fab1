"""Incoming calls: each rings once, in time, verified with the engine."""
