"""1:1 calls: the session, one call's life, the table of its states, several callees at once."""
