"""Rooms with a name: audio rooms with seats, live streams with a stage."""
