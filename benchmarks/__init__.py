"""Measurements: each script prints a ratio against raw livekit (or a named floor) taken in the same run."""
