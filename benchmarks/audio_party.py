"""One side of `benchmarks.audio` in its own process: utdstream, or the shortest program on public livekit.

Standard input brings one line of JSON (`Settings`), then `measure` lines; each is answered with a line of JSON:
what the process has cost and done so far. All kinds feed the same frames at the same pace and take what comes.
The peer of each run is a raw one, which also times the bursts that it hears.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import resource
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from livekit import rtc

from utdstream import ClientConfig, Devices, UTDRoom
from utdstream.media import PcmFormat, PcmFrame

PCM = PcmFormat(48_000, 1)
BURST_EVERY = 50
"""Frames from one burst to the next: half a second."""
BURST_FRAMES = 2
LOUD = 12_000


@dataclass(frozen=True)
class Settings:
    """What a party does. `kind` is direct, public or raw; `readers` read beside, or instead of, the speaker."""

    url: str
    token: str
    kind: str
    sends: bool = True
    hears: bool = True
    readers: int = 0
    hogs: int = 0
    period_ms: int = 20
    listens_for_bursts: bool = False


def _tone(hertz: int, level: int) -> bytes:
    """10 ms of a sine that begins and ends at nothing."""
    count = PCM.samples_per_frame
    return array(
        "h", [int(level * math.sin(2 * math.pi * hertz * i / 48_000)) for i in range(count)]
    ).tobytes()


QUIET, BURST = _tone(300, 1500), _tone(1000, 30_000)


def frame_of(number: int) -> bytes:
    """The n-th 10 ms that everybody sends: a quiet tone with loud bursts."""
    return BURST if number % BURST_EVERY < BURST_FRAMES else QUIET


class Tally:
    """What one party did and when."""

    def __init__(self) -> None:
        self.sent = 0
        self.heard = 0
        self.bursts_sent: list[float] = []
        self.bursts_heard: list[float] = []
        self._loud = False

    def count_sent(self, number: int) -> None:
        self.sent += 1
        if number % BURST_EVERY == 0:
            self.bursts_sent.append(time.monotonic())

    def look_for_burst(self, pcm: memoryview) -> None:
        loud = max(pcm) > LOUD
        if loud and not self._loud:
            self.bursts_heard.append(time.monotonic())
        self._loud = loud

    def cost(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        made: dict[str, Any] = {
            "at_s": time.monotonic(),
            "cpu_s": used.ru_utime + used.ru_stime,
            "wakeups": used.ru_nvcsw,
            "sent": self.sent,
            "heard": self.heard,
            "bursts_sent": self.bursts_sent,
            "bursts_heard": self.bursts_heard,
        }
        return made


def concealed_of(stats: rtc.RtcStats) -> dict[str, int]:
    """How much of what was played of remote sound was made up, in samples."""
    made_up = total = 0
    for entry in (*stats.publisher_stats, *stats.subscriber_stats):
        if entry.WhichOneof("stats") == "inbound_rtp" and entry.inbound_rtp.stream.kind == "audio":
            made_up += entry.inbound_rtp.inbound.concealed_samples
            total += entry.inbound_rtp.inbound.total_samples_received
    return {"concealed": made_up, "samples": total}


def compute_for_ever() -> None:
    number = 0
    while True:
        number = (number + 1) % 1_000_003


def start_hogs(count: int) -> None:
    for _ in range(count):
        threading.Thread(target=compute_for_ever, daemon=True).start()


def due_times(period_s: float) -> Iterator[float]:
    begun, turn = time.monotonic(), 0
    while True:
        turn += 1
        yield begun + turn * period_s


# -- utdstream ---------------------------------------------------------------------------------------


class CardThread:
    """A sound card's thread: calls `tick` every period."""

    format = PCM

    def __init__(self, period_ms: int) -> None:
        self._period_s = period_ms / 1000
        self._over = False
        self._thread: threading.Thread | None = None

    def run(self, tick: Callable[[], None]) -> None:
        def work() -> None:
            for due in due_times(self._period_s):
                time.sleep(max(0.0, due - time.monotonic()))
                if self._over:
                    return
                tick()

        self._over = False
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over = True
        if self._thread is not None:
            self._thread.join()


class CardMicrophone(CardThread):
    """Captures a period at once, as frames of 10 ms."""

    def __init__(self, period_ms: int, tally: Tally) -> None:
        super().__init__(period_ms)
        self._frames = period_ms // 10
        self._tally = tally
        self._number = 0

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        def tick() -> None:
            for _ in range(self._frames):
                self._tally.count_sent(self._number)
                sink(PcmFrame(frame_of(self._number), PCM.sample_rate_hz, PCM.channels, 0))
                self._number += 1

        self.run(tick)


class CardSpeaker(CardThread):
    """Plays a period at once."""

    def __init__(self, period_ms: int, tally: Tally) -> None:
        super().__init__(period_ms)
        self._samples = PCM.samples_per_frame * period_ms // 10
        self._tally = tally

    def start(self, source: Callable[[int], bytes]) -> None:
        def tick() -> None:
            source(self._samples)
            self._tally.heard += 1

        self.run(tick)


def be_utdstream(settings: Settings) -> None:
    tally = Tally()
    devices = Devices(
        microphone=CardMicrophone(settings.period_ms, tally) if settings.sends else None,
        speaker=CardSpeaker(settings.period_ms, tally) if settings.hears else None,
    )
    config = ClientConfig(direct_audio=settings.kind == "direct")
    with UTDRoom(devices=devices, _config=config) as room:
        room.connect(settings.url, settings.token)
        if settings.sends:
            room.set_microphone(True)

        def read() -> None:
            for _ in room.audio_frames():
                tally.heard += 1

        for _ in range(settings.readers):
            threading.Thread(target=read, daemon=True).start()
        start_hogs(settings.hogs)
        print("on air", flush=True)
        for _ in sys.stdin:
            cost, stats = tally.cost(), room.stats()
            cost |= {"underruns": stats.playout_underruns, "dropped": stats.audio_frames_dropped}
            print(json.dumps(cost), flush=True)
        sys.stdout.flush()
        os._exit(0)


# -- livekit alone -----------------------------------------------------------------------------------


class Raw:
    """The shortest program on livekit's public names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tally = Tally()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        settings = self._settings
        room = rtc.Room()
        room.on("track_subscribed", self._subscribed)
        listens = settings.hears or settings.readers > 0
        await room.connect(settings.url, settings.token, rtc.RoomOptions(auto_subscribe=listens))
        if settings.sends:
            source = rtc.AudioSource(PCM.sample_rate_hz, PCM.channels, queue_size_ms=0)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await room.local_participant.publish_track(track, options)
            self._tasks.append(asyncio.create_task(self._send(source)))
        start_hogs(settings.hogs)
        print("on air", flush=True)
        loop = asyncio.get_running_loop()
        asked: asyncio.Queue[bool] = asyncio.Queue()

        def read_lines() -> None:
            for _ in sys.stdin:
                loop.call_soon_threadsafe(asked.put_nowait, True)
            os._exit(0)

        threading.Thread(target=read_lines, daemon=True).start()
        while await asked.get():
            cost = self.tally.cost()
            cost |= concealed_of(await room.get_rtc_stats())
            print(json.dumps(cost), flush=True)

    async def _send(self, source: rtc.AudioSource) -> None:
        number = 0
        for due in due_times(self._settings.period_ms / 1000):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for _ in range(self._settings.period_ms // 10):
                self.tally.count_sent(number)
                await source.capture_frame(
                    rtc.AudioFrame(frame_of(number), PCM.sample_rate_hz, PCM.channels, PCM.samples_per_frame)
                )
                number += 1

    def _subscribed(self, track: rtc.Track, *_: object) -> None:
        for _ in range(max(1, self._settings.readers)):
            self._tasks.append(asyncio.create_task(self._hear(track)))

    async def _hear(self, track: rtc.Track) -> None:
        async for event in rtc.AudioStream(track, sample_rate=PCM.sample_rate_hz, num_channels=PCM.channels):
            self.tally.heard += 1
            if self._settings.listens_for_bursts:
                self.tally.look_for_burst(event.frame.data)


def main() -> None:
    settings = Settings(**json.loads(sys.stdin.readline()))
    if settings.kind == "raw":
        asyncio.run(Raw(settings).run())
    else:
        be_utdstream(settings)


if __name__ == "__main__":
    main()
