"""Participants who come back where they may not be, with a media token from before.

Owns: removing them, again and again. Runs on the loop thread. Who is kept out is said by `flows/bans` and
`flows/keys`.

1. livekit-server 1.13.5 takes a media token until it expires and hands out a new one at each join: a ban or a
   revocation is not known to it (`revoke_token_ts` of its API has no effect there).
2. Its webhook comes when media flows already. The first return is removed by it, as fast as it comes. From then on
   this identity is looked for in this room all the time, and removed while it still connects: it hears nothing.
3. A participant is asked about by key too: another key of the same identity may be in the room by right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from utdstream.engine.background import Lanes
from utdstream.engine.media.sfu import Participant, Sfu, SfuUnavailable, Webhook
from utdstream.engine.media.tokens import REFRESHED_FOR_S

LOOK_EVERY_S = 0.02
"""While it comes again and again: a join takes longer than this from its first message to its first sound."""
REST_EVERY_S = 0.1
FAST_FOR_S = 5.0
AT_FULL_PACE = 4
"""So many are looked for at this pace; when there are more, each more seldom."""
MOST = 100
"""Beyond this many at once, each return is removed by its webhook alone."""
_AGAIN_S = 0.5

_log = logging.getLogger(__name__)

IsKeptOut = Callable[[str, Participant], bool]


class KeepOut:
    """Removes whoever `is_kept_out`, which is asked with the room's name on the media server."""

    def __init__(self, sfu: Sfu, lanes: Lanes, is_kept_out: IsKeptOut) -> None:
        self._sfu = sfu
        self._lanes = lanes
        self._is_kept_out = is_kept_out
        self._watched: set[tuple[str, str]] = set()

    def webhook(self, hook: Webhook) -> None:
        """Removes a participant who came in and may not, without a word, and begins to look for the next time."""
        if hook.event != "participant_joined" or hook.person is None:
            return
        if not self._is_kept_out(hook.room, hook.person):
            return
        place = (hook.room, hook.identity)
        # Not in the lane of the notice at a ban or a revocation, which may wait for two seconds.
        self._lanes.put(f"remove {hook.room} {hook.identity}", lambda: self._remove(*place))
        if place not in self._watched and len(self._watched) < MOST:
            self._watched.add(place)
            self._lanes.put(f"keep out {hook.room} {hook.identity}", lambda: self._keep_out(*place))

    async def _remove(self, room: str, identity: str) -> None:
        try:
            await self._sfu.remove(room, identity)
        except SfuUnavailable:
            return  # looked for again

    async def _keep_out(self, room: str, identity: str) -> None:
        _log.info("%s came back into room %s with a media token from before", identity, room)
        loop = asyncio.get_running_loop()
        seen_at, returns = loop.time(), 1
        try:
            while (rest_s := loop.time() - seen_at) < REFRESHED_FOR_S:
                try:
                    if await self._is_there(room, identity):
                        await self._sfu.remove(room, identity)
                        seen_at, returns = loop.time(), returns + 1
                except SfuUnavailable:
                    await asyncio.sleep(_AGAIN_S)
                pause_s = LOOK_EVERY_S if rest_s < FAST_FOR_S else REST_EVERY_S
                await asyncio.sleep(pause_s * max(1.0, len(self._watched) / AT_FULL_PACE))
        finally:
            self._watched.discard((room, identity))
            _log.info("%s was kept out of room %s, %d times", identity, room, returns)

    async def _is_there(self, room: str, identity: str) -> bool:
        person = await self._sfu.participant(room, identity)
        return person is not None and self._is_kept_out(room, person)
