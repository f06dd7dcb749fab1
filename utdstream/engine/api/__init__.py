"""The engine's HTTP: who may ask, what each operation takes and answers."""
