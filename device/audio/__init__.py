"""Sound: adapters for microphones and speakers. Each imports its driver when it is opened, not before."""
