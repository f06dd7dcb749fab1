"""What a 720p30 camera costs: H.264 that is there already against raw pictures, watched and unwatched.

The CPU of the publishing process for some seconds, net of what a process costs that is in the room and publishes
nothing; ABBA, medians of pair ratios. The reference of both bars is the raw I420 publisher with one viewer in the
same run (the core encodes it).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

from benchmarks.pairs import compare, report
from utdstream.testing import LocalStack

WATCHED_BAR, UNWATCHED_BAR = 0.1, 0.05
SETTLE_S = 4.0
REST_S = 8.0
_numbers = itertools.count(1)


def token(stack: LocalStack, room: str, identity: str) -> str:
    from livekit import api

    grants = api.VideoGrants(room_join=True, room=room)
    made = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret).with_identity(identity)
    return made.with_grants(grants).to_jwt()


def make_room(stack: LocalStack, name: str) -> None:
    import asyncio

    from livekit import api

    async def make() -> None:
        async with api.LiveKitAPI(
            stack.livekit_url.replace("ws", "http", 1), stack.livekit_api_key, stack.livekit_api_secret
        ) as server:
            await server.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=120))

    asyncio.run(make())


@contextlib.contextmanager
def viewer(stack: LocalStack, room: str) -> Iterator[None]:
    """Somebody who watches, in a process of his own."""
    code = (
        "import sys; from utdstream import UTDRoom; r = UTDRoom(); r.connect(sys.argv[1], sys.argv[2]);\n"
        "for frame in r.video_frames(timeout=60): pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code, stack.livekit_url, token(stack, room, "viewer")])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def cost_ms(stack: LocalStack, arm: str, seconds: float, *, watched: bool) -> float:
    """CPU milliseconds a second of one publisher."""
    room = f"camera-{next(_numbers)}"
    make_room(stack, room)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.camera_publisher"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    settings = {"url": stack.livekit_url, "token": token(stack, room, "door"), "arm": arm}
    pause = threading.Event()

    def ask() -> list[float]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("measure\n")
        process.stdin.flush()
        return list(json.loads(process.stdout.readline()))

    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "publishing"
        with viewer(stack, room) if watched else contextlib.nullcontext():
            pause.wait(SETTLE_S if watched else REST_S)
            before = ask()
            pause.wait(seconds)
            after = ask()
        if watched and arm != "none":
            assert after[2] - before[2] > 20 * seconds, "it streams"
        return (after[0] - before[0]) * 1000 / (after[1] - before[1])
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with LocalStack() as stack:

        def arm(name: str, *, watched: bool) -> float:
            cost, idle = (cost_ms(stack, each, chosen.seconds, watched=watched) for each in (name, "none"))
            return cost - idle

        results = [
            compare(
                "720p30 pre-encoded, watched (CPU)", lambda: arm("encoded", watched=True),
                lambda: arm("raw", watched=True), pairs=chosen.pairs, bar=WATCHED_BAR,
            ),
            compare(
                "720p30 pre-encoded, nobody watching (CPU)", lambda: arm("encoded", watched=False),
                lambda: arm("raw", watched=True), pairs=max(1, chosen.pairs - 1), bar=UNWATCHED_BAR,
            ),
        ]  # fmt: skip
    return report(results, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
