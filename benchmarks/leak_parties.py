"""Door and house of `benchmarks.leaks`, each in a process of its own: utdstream's, or a raw livekit program's.

    python -m benchmarks.leak_parties door|house

Standard input brings one line of JSON with the settings, then commands: `call NUMBER` makes one, `measure` rests
and prints threads, descriptors and memory. Each is answered by one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from livekit import api, rtc

from utdstream import (
    CallNotAnswered,
    Devices,
    IncomingCall,
    SessionClosed,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone

REST_S = 25.0
"""A room that was left is held by the core until its last negotiations are given up, after up to 20 s; five
threads and six megabytes that all rooms share go with the last of them."""
WIDTH, HEIGHT, FRAMES_PER_SECOND = 160, 120, 10
PATIENCE_S = 20.0
HEARD_FRAMES = 5
AGAIN_S = 0.1
SAMPLE_EVERY = 5
OTHERS_S = 5.0


class Party(Protocol):
    """One side of the calls of one arm."""

    def call(self, number: int) -> None:
        """Does this side's part of one call, from its beginning to its end."""

    def close(self) -> None: ...


def figures() -> dict[str, int]:
    """Returns what this process holds after a rest; memory of its own in KiB, but for what malloc gives back."""
    gc.collect()
    time.sleep(REST_S)
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "kib": memory_kib(),
    }


def memory_kib() -> int:
    """Returns the memory of this process's own, but for what malloc gives back."""
    gc.collect()
    with contextlib.suppress(OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    own = re.findall(r"^(?:RssAnon|VmSwap):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return sum(map(int, own))


# -- utdstream -------------------------------------------------------------------------------------


class SdkParty:
    """A side that uses the SDK as README does."""

    def __init__(self, settings: dict[str, Any], identity: str) -> None:
        self.settings = settings
        self.ending: str = settings["ending"]
        self.client = UTDStreamClient(
            settings["app_id"],
            settings["app_key"],
            base_url=settings["base_url"],
            devices=Devices(
                microphone=ToneMicrophone(),
                speaker=NullSpeaker(),
                camera=PatternCamera(WIDTH, HEIGHT, FRAMES_PER_SECOND),
            ),
        )
        self.client.authenticate(identity=identity)

    def close(self) -> None:
        self.client.dispose()

    def over(self, session: UTDCallSession, status: UTDCallStatus) -> None:
        """Waits for the end; frees the session, unless this arm is about those that never do."""
        session.status.wait_for(status, timeout=PATIENCE_S)
        if self.ending != "undisposed":
            session.dispose()


class SdkDoor(SdkParty):
    """Calls."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings, "leaks-door")

    def call(self, number: int) -> None:
        session = self.client.call_session(UTDStreamType.VIDEO_CALL)
        other = threading.Event()
        session.messages.subscribe(lambda _: other.set())
        if self.ending == "rejected":
            with contextlib.suppress(CallNotAnswered):  # it may be refused while the room is joined
                session.start(callee_identity="leaks-house")
            self.over(session, UTDCallStatus.REJECTED)
            return
        call = session.start(callee_identity="leaks-house")
        if self.ending == "missed":
            self.over(session, UTDCallStatus.MISSED)
        elif self.ending == "cancelled":
            session.status.wait_for(UTDCallStatus.RINGING, timeout=PATIENCE_S)
            session.end()
            self.over(session, UTDCallStatus.ENDED)
        else:
            session.wait_for_answer(timeout=PATIENCE_S)
            if self.ending != "answered":
                use(session, other)
            if self.ending in ("deleted", "removed"):
                end_by_the_server(self.settings, self.ending, call.call_id, "leaks-door")
            if self.ending == "removed":
                session.connected.wait_for(False, timeout=PATIENCE_S)
                session.connected.wait_for(True, timeout=PATIENCE_S)
            if self.ending in ("caller", "undisposed", "answered", "removed"):
                session.end()
            self.over(session, UTDCallStatus.ENDED)


class SdkHouse(SdkParty):
    """Is called."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings, "leaks-house")
        self._inbox = self.client.incoming_calls()
        self._inbox.connected.wait_for(True, timeout=PATIENCE_S)

    def call(self, number: int) -> None:
        incoming: IncomingCall = self._inbox.ringing.wait(timeout=PATIENCE_S)
        if self.ending == "rejected":
            incoming.reject()
        if self.ending == "cancelled":
            with self.client.call_session(UTDStreamType.VIDEO_CALL) as ringing:
                ringing.ringing(incoming.call_id)
                ringing.status.wait_for(UTDCallStatus.ENDED, timeout=PATIENCE_S)
        if self.ending in ("rejected", "missed", "cancelled"):
            return
        try:
            session = incoming.accept()
        except SessionClosed:
            if self.ending != "answered":  # there it may be over before this side has joined
                raise
            return
        other = threading.Event()
        session.messages.subscribe(lambda _: other.set())
        if self.ending != "answered":
            use(session, other)
        if self.ending == "callee":
            session.end()
        self.over(session, UTDCallStatus.ENDED)


def use(session: UTDCallSession, other: threading.Event) -> None:
    """Hears and sees the other side, and waits until that one has, as its message says."""
    sound = session.audio_frames()
    for _ in range(HEARD_FRAMES):
        next(sound)
    next(session.video_frames(timeout=PATIENCE_S))
    until = time.monotonic() + PATIENCE_S
    while not other.wait(AGAIN_S) and time.monotonic() < until:
        session.send_data(b"heard and seen")
    with contextlib.suppress(UTDStreamException):  # it may have ended the call already
        session.send_data(b"heard and seen")


def end_by_the_server(settings: dict[str, Any], ending: str, room: str, identity: str) -> None:
    """Ends the room on the media server itself, without a word to those in it."""

    async def end() -> None:
        async with api.LiveKitAPI(settings["livekit_url"], *settings["livekit_keys"]) as server:
            if ending == "deleted":
                await server.room.delete_room(api.DeleteRoomRequest(room=room))
            else:
                await server.room.remove_participant(
                    api.RoomParticipantIdentity(room=room, identity=identity)
                )

    asyncio.run(end())


# -- raw livekit -----------------------------------------------------------------------------------


def room_of(arm: str, number: int) -> str:
    """Names the room of one call of a raw arm."""
    return f"leaks-{arm.replace(' ', '-')}-{number}"


class RawParty:
    """A side that does the same with livekit alone, in a room that is made before each call."""

    def __init__(self, settings: dict[str, Any], identity: str) -> None:
        self._settings = settings
        self._ending: str = settings["ending"]
        self._identity = identity
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def call(self, number: int) -> None:
        self._runner.run(self._call(room_of(self._ending, number)))

    async def _call(self, name: str) -> None:
        key, secret = self._settings["livekit_keys"]
        is_door = self._identity == "raw-door"
        if self._ending == "raw alone" and not is_door:
            return
        token = (
            api.AccessToken(key, secret)
            .with_identity(self._identity)
            .with_grants(api.VideoGrants(room_join=True, room=name))
            .to_jwt()
        )
        side = RawSide()
        await side.join(self._settings["livekit_url"], token)
        if self._ending == "raw alone":
            await side.unpublish()
        elif self._ending == "raw deleted":
            await side.use()
            if is_door:
                await asyncio.to_thread(end_by_the_server, self._settings, "deleted", name, self._identity)
            await asyncio.wait_for(side.over.wait(), PATIENCE_S)
        else:
            await side.use()
            if not is_door:  # the door hangs up
                await asyncio.wait_for(side.other_goes.wait(), PATIENCE_S)
            if self._ending != "raw":
                await side.unpublish()
            if self._ending == "raw all unpublish":
                await asyncio.wait_for(side.none_is_published.wait(), OTHERS_S)
        await side.leave()


class RawSide:
    """One life of one room, as livekit's examples do it."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.other_goes = asyncio.Event()
        self.none_is_published = asyncio.Event()
        self.over = asyncio.Event()
        self._other_has = asyncio.Event()
        self._got = {rtc.TrackKind.KIND_AUDIO: asyncio.Event(), rtc.TrackKind.KIND_VIDEO: asyncio.Event()}
        self._streams: list[tuple[rtc.AudioStream | rtc.VideoStream, asyncio.Task[None]]] = []
        self._sending: list[asyncio.Task[None]] = []
        self._published: list[str] = []
        self.room.on("track_subscribed", self._subscribed)
        self.room.on("track_unpublished", self._unpublished)
        self.room.on("participant_disconnected", lambda _: self.other_goes.set())
        self.room.on("data_received", lambda _: self._other_has.set())
        self.room.on("disconnected", lambda _: self.over.set())

    async def join(self, url: str, token: str) -> None:
        await self.room.connect(url, token)
        self._microphone = rtc.AudioSource(48_000, 1, queue_size_ms=0)
        self._camera = rtc.VideoSource(WIDTH, HEIGHT)
        self._camera.capture_frame(picture(0))
        for track, source in (
            (
                rtc.LocalAudioTrack.create_audio_track("m", self._microphone),
                rtc.TrackSource.SOURCE_MICROPHONE,
            ),
            (rtc.LocalVideoTrack.create_video_track("c", self._camera), rtc.TrackSource.SOURCE_CAMERA),
        ):
            options = rtc.TrackPublishOptions(simulcast=False, source=source)
            self._published.append((await self.room.local_participant.publish_track(track, options)).sid)
        self._sending = [asyncio.create_task(self._speak()), asyncio.create_task(self._film())]

    async def _speak(self) -> None:
        silence = rtc.AudioFrame(bytes(960), 48_000, 1, 480)
        while True:
            await self._microphone.capture_frame(silence)
            await asyncio.sleep(0.01)

    async def _film(self) -> None:
        number = 0
        while True:
            number += 1
            self._camera.capture_frame(picture(number))
            await asyncio.sleep(1 / FRAMES_PER_SECOND)

    def _subscribed(self, track: rtc.Track, *_: object) -> None:
        got = self._got[track.kind]
        stream = (
            rtc.AudioStream(track, capacity=10)
            if track.kind == rtc.TrackKind.KIND_AUDIO
            else rtc.VideoStream(track, capacity=1)
        )

        async def pump() -> None:
            async for _ in stream:
                got.set()

        self._streams.append((stream, asyncio.create_task(pump())))

    def _unpublished(self, *_: object) -> None:
        self.other_goes.set()
        if not any(each.track_publications for each in self.room.remote_participants.values()):
            self.none_is_published.set()

    async def use(self) -> None:
        """Hears and sees the other side, and waits until that one has, as its message says."""
        for got in self._got.values():
            await asyncio.wait_for(got.wait(), PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while not self._other_has.is_set():
                await self.room.local_participant.publish_data(b"heard and seen")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._other_has.wait(), AGAIN_S)
        await self.room.local_participant.publish_data(b"heard and seen")

    async def _stop_sending(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.wait(self._sending)

    async def unpublish(self) -> None:
        await self._stop_sending()
        for sid in self._published:
            await self.room.local_participant.unpublish_track(sid)

    async def leave(self) -> None:
        await self._stop_sending()
        for stream, pump in self._streams:
            pump.cancel()
            await asyncio.wait({pump})
            await stream.aclose()
        await self.room.disconnect()
        await self._microphone.aclose()
        await self._camera.aclose()


def picture(number: int) -> rtc.VideoFrame:
    content = bytes([number % 256]) * (WIDTH * HEIGHT * 3 // 2)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, content)


# -- the process -----------------------------------------------------------------------------------


def make(who: str, settings: dict[str, Any]) -> Party:
    if settings["ending"].startswith("raw"):
        return RawParty(settings, f"raw-{who}")
    return SdkDoor(settings) if who == "door" else SdkHouse(settings)


def main() -> int:
    settings = json.loads(sys.stdin.readline())
    party = make(sys.argv[1], settings)
    print(json.dumps("ready"), flush=True)
    samples: list[tuple[int, int]] = []
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        try:
            answer: object = None
            if command == "measure":
                answer = figures()
            elif command == "samples":
                answer = samples
            else:
                if int(number) % SAMPLE_EVERY == 0:
                    samples.append((int(number), memory_kib()))
                party.call(int(number))
        except Exception as error:  # noqa: BLE001 - told to the other process, which counts it
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)
    party.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
