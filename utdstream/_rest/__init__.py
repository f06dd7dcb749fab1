"""Blocking REST with real deadlines."""
