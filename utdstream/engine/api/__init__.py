"""The engine's HTTP: credentials, operations, what each takes and answers."""
