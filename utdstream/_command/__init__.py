"""What `utdstream` the command does: the telephone, the doctor, the demo."""
