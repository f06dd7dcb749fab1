"""A listener who comes back into a room again and again with one media token, straight over LiveKit's own library.

Standard input brings one line of JSON: url, token, times, pause_s. It prints how often it was let in, and how many
seconds of sound it heard: {"joined": 1, "heard_s": 0.02}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

from livekit import rtc

FRAME_S = 0.01
LOUD = 1000
CONNECTS_WITHIN_S = 1.0
"""One that is removed while it connects is not told so: it begins anew."""
LISTENS_S = 1.5


class Returner:
    """One listener and what it heard in all."""

    def __init__(self) -> None:
        self.joined = 0
        self.heard_s = 0.0

    async def come(self, url: str, token: str) -> None:
        room = rtc.Room()
        gone = asyncio.Event()
        listening: list[asyncio.Task[None]] = []
        room.on("disconnected", lambda *_: gone.set())
        room.on(
            "track_subscribed",
            lambda track, *_: listening.append(asyncio.create_task(self._listen(rtc.AudioStream(track)))),
        )
        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                await room.connect(url, token)
            self.joined += 1
            async with asyncio.timeout(LISTENS_S):
                await gone.wait()
        except (rtc.ConnectError, TimeoutError):
            pass
        for task in listening:
            task.cancel()
        with contextlib.suppress(Exception):
            await room.disconnect()

    async def _listen(self, stream: rtc.AudioStream) -> None:
        async for event in stream:
            sound = memoryview(bytes(event.frame.data)).cast("h")
            self.heard_s += FRAME_S if max(sound) > LOUD else 0.0


async def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    returner = Returner()
    for _ in range(wanted["times"]):
        await returner.come(wanted["url"], wanted["token"])
        await asyncio.sleep(wanted["pause_s"])
    print(json.dumps({"joined": returner.joined, "heard_s": round(returner.heard_s, 2)}), flush=True)


asyncio.run(main())
