"""Deadlines of blocking calls, and the threads that run callbacks and background work."""
