"""A secret that stands alone in a file: reads it, and says in one sentence why that cannot be.

Owns: `read_secret`, `why`. Vocabulary and the standard library only. Any thread. No sentence quotes the file.
"""

from __future__ import annotations

from pathlib import Path

from utdstream.errors import InvalidConfig

_MOST = 4096


def read_secret(file: Path, what: str) -> str:
    """Returns what stands in the file, without blanks around it. `what` names it, like "the app key".

    Raises: InvalidConfig when it cannot be read, is empty, holds more than one line, or is PEM.
    """
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidConfig(f"{what} cannot be read from {file}: {why(error)}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{file} is no text; it must hold {what} alone") from error
    if "-----BEGIN" in text:
        raise InvalidConfig(f"{file} holds a certificate or a key of TLS (PEM); it must hold {what} alone")
    if not text:
        raise InvalidConfig(f"{file} is empty; it must hold {what} alone")
    if len(text) > _MOST or not text.isprintable():
        raise InvalidConfig(f"{file} must hold {what} alone, in one line")
    return text


def why(error: OSError | ValueError) -> str:
    """Returns why a file could not be used, without its path and number: the sentence around it has the path."""
    words = error.strerror if isinstance(error, OSError) else None
    return words[:1].lower() + words[1:] if words else str(error) or type(error).__name__
