"""Joins of one identity in one room, one after the other.

Owns: `in_turn`, and what is under way in this process. Thread: the loop.

A join that nobody waits for any more is not cancelled (a cancelled one that succeeds natively kills the process
15 s later, python-sdks #784); it finishes, and is then left. Were the next one of the same identity joined
meanwhile, the late one would throw it out (DUPLICATE_IDENTITY).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_under_way: dict[str, asyncio.Future[None]] = {}


@asynccontextmanager
async def in_turn(token: str) -> AsyncGenerator[None]:
    """Waits until no other join of this token's identity and room is under way, then holds the others back."""
    key = _identity_key(token)
    while key in _under_way:
        await asyncio.wait({_under_way[key]})
    done = _under_way[key] = asyncio.get_running_loop().create_future()
    try:
        yield
    finally:
        del _under_way[key]
        done.set_result(None)


def under_way() -> int:
    """Counts the joins that are being made now."""
    return len(_under_way)


def _identity_key(token: str) -> str:
    """Reads room and identity in a join token (not verified); returns the token itself when unreadable."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return f"{claims['video']['room']}\n{claims['sub']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return token
