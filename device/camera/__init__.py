"""Pictures: adapters for cameras, and our own H.264 encoder. Each imports its driver when it is opened."""
