"""What this participant receives: nothing is downloaded that nobody consumes.

Owns: subscriptions, audio and video streams of one connection, and the consumers they feed. Thread:
all of it on the loop, but for what consumers pull (see `playout`).

With `adaptive` an audio track is subscribed while somebody listens (a speaker or `audio_frames()`),
a video track while somebody looks, and for `linger_s` after; the core decodes what is subscribed even
when nobody reads it, so unsubscribing is the only saving. A `VideoStream` never ends by itself
(livekit 1.2.1): each stream has its own task, cancelled and closed on `track_unsubscribed`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from livekit import rtc

from utdstream._livekit.loop import LoopThread, bounded
from utdstream._livekit.playout import Mixer, PcmRing
from utdstream.media import PcmFormat, PixelFormat, RawFrame

_log = logging.getLogger(__name__)

STREAM_CLOSE_S = 2.0
AUDIO_CAPACITY = 10
_ROTATION: dict[object, int] = {
    rtc.VideoRotation.VIDEO_ROTATION_0: 0,
    rtc.VideoRotation.VIDEO_ROTATION_90: 90,
    rtc.VideoRotation.VIDEO_ROTATION_180: 180,
    rtc.VideoRotation.VIDEO_ROTATION_270: 270,
}


class AudioConsumer:
    """Somebody who listens: to everyone, or to one identity. Read with `mixer.pull`, any thread."""

    kind = rtc.TrackKind.KIND_AUDIO

    def __init__(self, audio_format: PcmFormat, identity: str | None = None) -> None:
        self.identity = identity
        self.mixer = Mixer(audio_format)


class VideoConsumer:
    """Somebody who looks: at the newest picture of one identity, or of whoever is seen first."""

    kind = rtc.TrackKind.KIND_VIDEO

    def __init__(self, identity: str | None = None) -> None:
        self.identity = identity
        self._condition = threading.Condition()
        self._newest: RawFrame | None = None
        self._over = False
        self.sid: str | None = None
        """The publication looked at; loop thread only."""

    def put(self, frame: RawFrame) -> None:
        """Loop thread: replaces a picture nobody took."""
        with self._condition:
            self._newest = frame
            self._condition.notify_all()

    def end(self) -> None:
        """The room is over: `take` returns None from now on."""
        with self._condition:
            self._over = True
            self._condition.notify_all()

    @property
    def over(self) -> bool:
        return self._over

    def take(self, seconds: float) -> RawFrame | None:
        """The newest picture not taken yet, waiting at most `seconds`; None when none came."""
        until = time.monotonic() + seconds
        with self._condition:
            while self._newest is None and not self._over:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._condition.wait(min(left, 3600.0))
            frame, self._newest = self._newest, None
            return frame


Consumer = AudioConsumer | VideoConsumer


class _Stream:
    """One remote track flowing into one consumer."""

    def __init__(self, task: asyncio.Task[None], close: Callable[[], object]) -> None:
        self.task = task
        self.close = close


class Subscriber:
    """All subscriptions of one connection. Loop thread."""

    def __init__(self, loop: LoopThread, *, adaptive: bool, auto_subscribe: bool, linger_s: float) -> None:
        self._loop = loop
        self._adaptive = adaptive
        self._auto = auto_subscribe
        self._linger_s = linger_s
        self._room: rtc.Room | None = None
        self._closed = False
        self._consumers: list[Consumer] = []
        self._streams: dict[tuple[Consumer, str], _Stream] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._asked: set[str] = set()
        self.video_frames_received = 0
        self._past_underruns = 0

    @property
    def subscribes_natively(self) -> bool:
        """What `auto_subscribe` of the core has to be."""
        return self._auto and not self._adaptive

    @property
    def underruns(self) -> int:
        return self._past_underruns + sum(
            consumer.mixer.underruns for consumer in self._consumers if isinstance(consumer, AudioConsumer)
        )

    def start(self, room: rtc.Room) -> None:
        """The room is connected."""
        self._room = room
        self.review()

    def add(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        if self._closed and isinstance(consumer, VideoConsumer):
            consumer.end()  # it came while the room was being left: nobody else would tell it
        self.review()

    def remove(self, consumer: Consumer) -> None:
        if consumer not in self._consumers:
            return
        self._consumers.remove(consumer)
        if isinstance(consumer, AudioConsumer):
            self._past_underruns += consumer.mixer.underruns
        for key in [key for key in self._streams if key[0] is consumer]:
            self._close_stream(key)
        self.review()

    # -- which tracks ----------------------------------------------------------------------------

    def review(self) -> None:
        """Subscribes what somebody wants, opens the missing streams, lets the rest go."""
        if self._room is None:
            return
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                wanted_by = [c for c in self._consumers if self._wants(c, publication, participant.identity)]
                self._want(publication, wanted=bool(wanted_by))
                track = publication.track
                if track is not None:
                    for consumer in wanted_by:
                        self._open_stream(consumer, track, publication.sid, participant.identity)

    def _wants(self, consumer: Consumer, publication: rtc.RemoteTrackPublication, identity: str) -> bool:
        if publication.kind != consumer.kind:
            return False
        if consumer.identity is not None and consumer.identity != identity:
            return False
        if isinstance(consumer, VideoConsumer):
            consumer.sid = consumer.sid or publication.sid
            return consumer.sid == publication.sid
        return consumer.identity is not None or self._auto

    def _want(self, publication: rtc.RemoteTrackPublication, *, wanted: bool) -> None:
        sid = publication.sid
        if wanted:
            timer = self._lingering.pop(sid, None)
            if timer is not None:
                timer.cancel()
            if sid not in self._asked and not self.subscribes_natively:
                self._asked.add(sid)
                publication.set_subscribed(True)
        elif sid in self._asked and sid not in self._lingering:
            self._lingering[sid] = self._loop.asyncio_loop.call_later(
                self._linger_s, self._let_go, publication
            )

    def _let_go(self, publication: rtc.RemoteTrackPublication) -> None:
        self._lingering.pop(publication.sid, None)
        if self._room is None or publication.sid not in self._asked:
            return
        self._asked.discard(publication.sid)
        publication.set_subscribed(False)

    # -- events of the room ----------------------------------------------------------------------

    def track_unsubscribed(self, sid: str) -> None:
        for key in [key for key in self._streams if key[1] == sid]:
            self._close_stream(key)

    def track_unpublished(self, sid: str) -> None:
        self.track_unsubscribed(sid)
        self._asked.discard(sid)
        timer = self._lingering.pop(sid, None)
        if timer is not None:
            timer.cancel()
        self._look_elsewhere({sid})

    def _look_elsewhere(self, gone: set[str]) -> None:
        for consumer in self._consumers:
            if isinstance(consumer, VideoConsumer) and consumer.sid in gone:
                consumer.sid = None
        self.review()

    def reconnected(self) -> None:
        """After a full reconnect publications are new objects, and what was asked on the way is lost."""
        if self._room is None:
            return
        publications = [
            publication
            for participant in self._room.remote_participants.values()
            for publication in participant.track_publications.values()
        ]
        present = {publication.sid for publication in publications}
        # A subscription asked for between `reconnecting` and `reconnected` never reaches the server.
        self._asked &= {publication.sid for publication in publications if publication.subscribed}
        gone = {key[1] for key in self._streams} - present
        for key in [key for key in self._streams if key[1] in gone]:
            self._close_stream(key)
        self._look_elsewhere(gone)

    # -- streams ---------------------------------------------------------------------------------

    def _open_stream(self, consumer: Consumer, track: rtc.Track, sid: str, identity: str) -> None:
        key = (consumer, sid)
        if key in self._streams:
            return
        if isinstance(consumer, AudioConsumer):
            audio_format = consumer.mixer.format
            audio = rtc.AudioStream(
                track,
                sample_rate=audio_format.sample_rate_hz,
                num_channels=audio_format.channels,
                capacity=AUDIO_CAPACITY,
            )
            ring = consumer.mixer.open_ring()
            task = self._loop.spawn(self._pump_audio(audio, ring))
            self._streams[key] = _Stream(task, lambda: consumer.mixer.close_ring(ring))
        else:
            video = rtc.VideoStream(track, capacity=1)
            task = self._loop.spawn(self._pump_video(video, consumer))
            self._streams[key] = _Stream(task, lambda: None)

    def _close_stream(self, key: tuple[Consumer, str]) -> asyncio.Task[None]:
        stream = self._streams.pop(key)
        stream.task.cancel()
        stream.close()
        return stream.task

    async def _pump_audio(self, stream: rtc.AudioStream, ring: PcmRing) -> None:
        try:
            async for event in stream:
                ring.push(event.frame.data.cast("B"))
        finally:
            await self._close_native(stream)

    async def _pump_video(self, stream: rtc.VideoStream, consumer: VideoConsumer) -> None:
        try:
            async for event in stream:
                frame = event.frame
                if frame.type != rtc.VideoBufferType.I420:
                    frame = frame.convert(rtc.VideoBufferType.I420)
                self.video_frames_received += 1
                consumer.put(
                    RawFrame(
                        data=bytes(frame.data),
                        width=frame.width,
                        height=frame.height,
                        pixel_format=PixelFormat.I420,
                        captured_at_us=event.timestamp_us,
                        rotation=_ROTATION.get(event.rotation, 0),
                    )
                )
        finally:
            await self._close_native(stream)

    async def _close_native(self, stream: rtc.AudioStream | rtc.VideoStream) -> None:
        closing = self._loop.spawn(stream.aclose())
        if not await bounded(asyncio.shield(closing), STREAM_CLOSE_S):
            closing.cancel()

    async def close(self) -> None:
        """All streams, bounded; video consumers are told that no picture will come."""
        tasks = {self._close_stream(key) for key in list(self._streams)}
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        self._asked.clear()
        self._room = None
        self._closed = True
        for consumer in self._consumers:
            if isinstance(consumer, VideoConsumer):
                consumer.end()
        if tasks:
            await asyncio.wait(tasks, timeout=STREAM_CLOSE_S)
