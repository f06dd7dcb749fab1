"""`UTDRoom.connect` against raw `rtc.Room.connect`: same options, same room, same tracks in it, same run.

    python -m benchmarks.connect [--pairs 30] [--json]

A publisher in the room, a process of its own, sends a microphone and a camera. Both arms connect without
subscribing (what `adaptive_stream` asks of the core) and disconnect again; the connect alone is timed. The
bar is 1.05.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from livekit import api, rtc

from benchmarks.pairs import Comparison, compare, report
from utdstream import UTDRoom
from utdstream.testing import LocalStack

BAR = 1.05
ROOM = "benchmark-connect"
SETTLE_S = 0.05


def token(stack: LocalStack, identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=ROOM)
    return (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_identity(identity)
        .with_grants(grants)
        .to_jwt()
    )


def make_room(stack: LocalStack) -> None:
    async def create() -> None:
        async with api.LiveKitAPI(
            stack.livekit_url, stack.livekit_api_key, stack.livekit_api_secret
        ) as server:
            await server.room.create_room(api.CreateRoomRequest(name=ROOM, empty_timeout=300))

    asyncio.run(create())


@contextmanager
def publisher(stack: LocalStack) -> Iterator[None]:
    """Somebody publishes in the room while inside."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.publisher"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        settings = {"url": stack.livekit_url, "token": token(stack, "publisher")}
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "publishing\n":
            raise SystemExit("the publisher could not publish")
        yield
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def measure(pairs: int) -> list[Comparison]:
    with LocalStack() as stack:
        make_room(stack)
        with publisher(stack), asyncio.Runner() as runner:
            joining = token(stack, "listener")

            def ours() -> float:
                with UTDRoom() as room:
                    began = time.perf_counter()
                    room.connect(stack.livekit_url, joining)
                    took = time.perf_counter() - began
                time.sleep(SETTLE_S)
                return took * 1000

            async def connect_raw() -> float:
                room = rtc.Room()
                options = rtc.RoomOptions(auto_subscribe=False, dynacast=True, connect_timeout=3.0)
                began = time.perf_counter()
                await room.connect(stack.livekit_url, joining, options)
                took = time.perf_counter() - began
                await room.disconnect()
                return took * 1000

            def theirs() -> float:
                took = runner.run(connect_raw())
                time.sleep(SETTLE_S)
                return took

            ours(), theirs()
            return [compare("UTDRoom.connect", ours, theirs, pairs=pairs, bar=BAR)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    return report(measure(options.pairs), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
