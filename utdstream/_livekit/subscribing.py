"""What this participant receives: nothing is downloaded that nobody consumes.

Owns: the subscriptions of one connection, and the consumers they are for. Thread: all of it on the loop, but for
what consumers pull (see `playout`). How a track's frames leave the core is in `streams`.

With `adaptive` an audio track is subscribed while it has a listener (a speaker or `audio_frames()`), a video track
while it has a viewer, and for `linger_s` after; the core decodes what is subscribed even when nobody reads it, so
unsubscribing is the only saving.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from utdstream._livekit.audio_path import AudioPath, Flow, PublicAudioPath
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.playout import Mixer
from utdstream._livekit.remote_sound import RemoteSound
from utdstream._livekit.streams import STREAM_CLOSE_S, open_video
from utdstream.media import PcmFormat, RawFrame

PAUSE_S = 0.15
"""The media server joins what it is told within 0.1 s into one, and off and on is nothing."""


class AudioConsumer:
    """A listener: to everyone, or to one identity. Read with `mixer.pull`, any thread."""

    kind = rtc.TrackKind.KIND_AUDIO

    def __init__(self, audio_format: PcmFormat, identity: str | None = None) -> None:
        self.identity = identity
        self.mixer = Mixer(audio_format)


class VideoConsumer:
    """A viewer: of the newest picture of one identity, or of the first one that is seen."""

    kind = rtc.TrackKind.KIND_VIDEO

    def __init__(self, identity: str | None = None) -> None:
        self.identity = identity
        self._condition = threading.Condition()
        self._newest: RawFrame | None = None
        self._over = False
        self.sid: str | None = None
        """The publication looked at; loop thread only."""

    def put(self, frame: RawFrame) -> None:
        """Replaces a picture that nobody took. Thread: loop."""
        with self._condition:
            self._newest = frame
            self._condition.notify_all()

    def end(self) -> None:
        """Makes `take` return None from now on: the room is over."""
        with self._condition:
            self._over = True
            self._condition.notify_all()

    @property
    def over(self) -> bool:
        return self._over

    def take(self, seconds: float) -> RawFrame | None:
        """Takes the newest picture, waiting at most `seconds`; None when none came. Any thread but the loop."""
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


def send_picture(publication: rtc.RemoteTrackPublication, *, enabled: bool) -> None:
    """Has the media server send this picture, or not. livekit 1.2.1 has no method for it, only the request."""
    request = ffi_pb2.FfiRequest()
    request.enable_remote_track_publication.track_publication_handle = publication._ffi_handle.handle
    request.enable_remote_track_publication.enabled = enabled
    FfiClient.instance.request(request)


class Subscriber:
    """All subscriptions of one connection. Loop thread."""

    def __init__(
        self,
        loop: LoopThread,
        *,
        adaptive: bool,
        auto_subscribe: bool,
        linger_s: float,
        path: AudioPath = PublicAudioPath(),  # noqa: B008 - without state
    ) -> None:
        self._loop = loop
        self._sound = RemoteSound(loop, path)
        self._adaptive = adaptive
        self._auto = auto_subscribe
        self._linger_s = linger_s
        self._room: rtc.Room | None = None
        self._closed = False
        self._consumers: list[Consumer] = []
        self._streams: dict[tuple[Consumer, str], Flow] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._asked: set[str] = set()
        self._one_is_gone = asyncio.Event()
        self.video_frames_received = 0
        self._past_underruns = 0

    @property
    def subscribes_natively(self) -> bool:
        """What `auto_subscribe` of the core has to be."""
        return self._auto and not self._adaptive

    @property
    def expects_media(self) -> bool:
        """Whether somebody publishes what is subscribed to here, and has not muted it."""
        return self._room is not None and any(
            publication.subscribed and not publication.muted
            for participant in self._room.remote_participants.values()
            for publication in participant.track_publications.values()
        )

    def refresh_pictures(self) -> None:
        """Has the media server begin the pictures that are watched here anew, each with a key frame."""
        for publication in self._pictures():
            send_picture(publication, enabled=False)
        self._loop.asyncio_loop.call_later(PAUSE_S, self._go_on_with_pictures)

    def _go_on_with_pictures(self) -> None:
        for publication in self._pictures():
            send_picture(publication, enabled=True)

    def _pictures(self) -> list[rtc.RemoteTrackPublication]:
        people = self._room.remote_participants.values() if self._room is not None else ()
        return [
            publication
            for participant in people
            for publication in participant.track_publications.values()
            if publication.kind == rtc.TrackKind.KIND_VIDEO and publication.subscribed
        ]

    @property
    def underruns(self) -> int:
        return self._past_underruns + sum(
            consumer.mixer.underruns for consumer in self._consumers if isinstance(consumer, AudioConsumer)
        )

    def start(self, room: rtc.Room) -> None:
        """Begins: the room is connected."""
        self._room = room
        self.review()

    def add(self, consumer: Consumer) -> None:
        """Brings it what it asks for, from now on."""
        self._consumers.append(consumer)
        if self._closed and isinstance(consumer, VideoConsumer):
            consumer.end()  # it came while the room was being left: nobody else would tell it
        self.review()

    def remove(self, consumer: Consumer) -> None:
        """Brings it nothing more. Does nothing when it is not there."""
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
        """Closes the streams of a track of which the core gives nothing more: they would wait for ever."""
        for key in [key for key in self._streams if key[1] == sid]:
            self._close_stream(key)

    def track_unpublished(self, sid: str) -> None:
        """Forgets a track that is gone; its viewers look for another one."""
        self.track_unsubscribed(sid)
        self._asked.discard(sid)
        timer = self._lingering.pop(sid, None)
        if timer is not None:
            timer.cancel()
        self._look_elsewhere({sid})

        self._one_is_gone.set()

    async def last_track_gone(self, room: rtc.Room) -> None:
        """Returns when nobody else in `room` publishes anything; also after `close`."""
        while any(other.track_publications for other in room.remote_participants.values()):
            self._one_is_gone.clear()
            await self._one_is_gone.wait()

    def _look_elsewhere(self, gone: set[str]) -> None:
        for consumer in self._consumers:
            if isinstance(consumer, VideoConsumer) and consumer.sid in gone:
                consumer.sid = None
        self.review()

    def reconnected(self) -> None:
        """Subscribes anew: publications are new objects, and what was asked for on the way is lost."""
        if self._room is None:
            return
        publications = [
            publication
            for participant in self._room.remote_participants.values()
            for publication in participant.track_publications.values()
        ]
        present = {publication.sid for publication in publications}
        # A subscription asked for, or let go, between `reconnecting` and `reconnected` never reaches the server:
        # what the core holds is what was asked for, and the review asks again for what differs.
        if not self.subscribes_natively:
            self._asked = {publication.sid for publication in publications if publication.subscribed}
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
            self._streams[key] = self._sound.hear(track, sid, consumer.mixer)
        else:
            self._streams[key] = open_video(self._loop, track, self._video_sink(consumer))

    def _video_sink(self, consumer: VideoConsumer) -> Callable[[RawFrame], None]:
        def put(frame: RawFrame) -> None:
            self.video_frames_received += 1
            consumer.put(frame)

        return put

    def _close_stream(self, key: tuple[Consumer, str]) -> asyncio.Future[None]:
        return self._streams.pop(key).close()

    async def close(self) -> None:
        """Closes all streams, bounded, and tells video consumers that no picture will come."""
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
