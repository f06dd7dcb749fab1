"""The engine's rules: pure, no I/O, no clock, no threads."""
