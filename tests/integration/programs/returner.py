"""A listener who comes back into a room again and again with one media token, straight over LiveKit's own library.

Standard input brings one line of JSON: url, token, times, patience_s (to connect, and then to listen), enough_s
(it leaves after so much sound). It prints how often it was let in, and the seconds of sound that it heard in all:
{"joined": 1, "heard_s": 0.02}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

from livekit import rtc

FRAME_S = 0.01
LOUD = 1000


class Returner:
    """One listener and what it heard in all."""

    def __init__(self) -> None:
        self.joined = 0
        self.heard_s = 0.0

    async def come(self, url: str, token: str, patience_s: float, enough_s: float) -> None:
        room = rtc.Room()
        gone = asyncio.Event()
        until_s = self.heard_s + enough_s
        listening: list[asyncio.Task[None]] = []
        room.on("disconnected", lambda *_: gone.set())
        room.on(
            "track_subscribed",
            lambda track, *_: listening.append(
                asyncio.create_task(self._listen(rtc.AudioStream(track), until_s, gone))
            ),
        )
        try:
            async with asyncio.timeout(patience_s):  # one that is removed while it connects is not told so
                await room.connect(url, token)
            self.joined += 1
            async with asyncio.timeout(patience_s):
                await gone.wait()
        except (rtc.ConnectError, TimeoutError):
            pass
        for task in listening:
            task.cancel()
        with contextlib.suppress(Exception):
            await room.disconnect()

    async def _listen(self, stream: rtc.AudioStream, until_s: float, gone: asyncio.Event) -> None:
        async for event in stream:
            sound = memoryview(bytes(event.frame.data)).cast("h")
            self.heard_s += FRAME_S if max(sound) > LOUD else 0.0
            if self.heard_s >= until_s:
                gone.set()


async def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    returner = Returner()
    for _ in range(wanted["times"]):
        await returner.come(wanted["url"], wanted["token"], wanted["patience_s"], wanted["enough_s"])
    print(json.dumps({"joined": returner.joined, "heard_s": round(returner.heard_s, 2)}), flush=True)
    os._exit(0)  # the core is torn down by the system: connections that it gave up hold its orderly end up


asyncio.run(main())
