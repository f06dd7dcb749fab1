"""utdstream: blocking LiveKit calls for devices. No asyncio in sight, no heavy import at import."""

__version__ = "0.1.0"
