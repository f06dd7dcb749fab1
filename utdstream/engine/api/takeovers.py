"""One session of an identity in a room: how soon another device may take it over.

Owns: the cool-down of room mints that name a device. Runs on the loop thread. The arithmetic is in
`limits`. Two devices of one identity that both rejoin would throw each other out for ever: the media server
keeps the last one alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from utdstream.engine.api.limits import Claims
from utdstream.engine.config import LimitsSection
from utdstream.engine.rules.refusals import Refusal

_log = logging.getLogger(__name__)


class Takeovers:
    """Refuses a takeover that comes too soon; `is_present(room, identity)` looks into the room."""

    def __init__(self, limits: LimitsSection, is_present: Callable[[str, str], Awaitable[bool]]) -> None:
        self._enabled = limits.enabled
        self._claims = Claims(limits.takeover_cooldown_s)
        self._is_present = is_present

    async def claim(self, room: str, identity: str, device: str | None) -> None:
        """This device mints for the room. Raises: Refusal (`session_takeover_cooldown`).

        A mint without a device is never refused and claims nothing. After a restart of the engine
        nothing is claimed.
        """
        if not self._enabled or device is None:
            return
        key = (room, identity)
        wait_s = self._claims.wait_s(key, device, time.monotonic())
        if wait_s > 0 and await self._is_present(room, identity):
            _log.info("%s is in room %s on another device, for too short a time", identity, room)
            raise Refusal(
                "session_takeover_cooldown",
                "The identity is active in this room on another device; try again in a moment",
                retry_after_s=wait_s,
            )
        self._claims.claim(key, device, time.monotonic())
