"""What this participant publishes: wished, allowed, actual, and one reconciler that makes them meet.

Owns: the two slots (microphone, camera) of one connection. Thread: all of it on the loop.

1. A slot publishes only while the SFU allows its source; an HTTP answer is never taken for a grant.
2. Permission withdrawn: the core does not tell, so the slot unpublishes and stops the device itself.
3. While published, on and off are unmute and mute, and the device stops while muted.
4. Publish and unpublish are never cancelled and always raced against the end of the room.
5. While reconnecting an unpublish would hang: mute now, unpublish when it is back.
6. A camera's first frame comes before its track is published (viewers would see black). One that is late is
   reported and stays open: its first frame publishes it, as long as that is still wished.
7. A room that ended under us: unpublish at once, without waiting (else threads leak, rust-sdks #1443).
8. One track is published after the other. Two at once may be negotiated wrongly: H.264 as VP8, a picture that
   nobody can decode (livekit 1.2.1; three of ten first calls of a process with microphone and camera).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

from livekit import rtc

from utdstream._livekit import devices as in_use
from utdstream._livekit.devices import SharedCapture
from utdstream._livekit.errors import room_lost, translate
from utdstream._livekit.loop import LoopThread, bounded
from utdstream._livekit.platform_audio import PlatformFeed
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.sources import CameraFeed, MicrophoneFeed
from utdstream._livekit.viewers import ViewerWatch
from utdstream.errors import DeviceError, PublishRefused, UTDStreamException
from utdstream.media import Camera, Devices, Microphone, WatchedCamera
from utdstream.observe import CallbackError, Report
from utdstream.platform_audio import PlatformMicrophone

_log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 12.0
UNPUBLISH_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 5.0
FIRST_FRAME_S = 3.0
ENDED_UNPUBLISH_S = 0.5
MIN_VIDEO_BITRATE_BPS = 250_000
VIDEO_BITS_PER_PIXEL = 0.1


class Wish(Enum):
    """What the program wants of one slot."""

    OFF = "off"
    MUTED = "muted"
    ON = "on"


class Slot:
    """One thing to publish. `kind` is microphone or camera."""

    def __init__(self, publisher: Publisher, kind: str) -> None:
        self._publisher = publisher
        self._loop = publisher.loop
        self.kind = kind
        self.wish = Wish.OFF
        self.publication: rtc.LocalTrackPublication | None = None
        self.feed: MicrophoneFeed | CameraFeed | None = None
        self._capture: SharedCapture[Any] | None = None
        self._capturing = False
        self._early: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._waiters: list[tuple[Wish, asyncio.Future[None]]] = []
        self._own_mutes = 0
        self._told: str | None = None
        self._viewers: ViewerWatch | None = None
        self.past_sent = 0
        self.past_dropped = 0

    @property
    def source(self) -> rtc.TrackSource.ValueType:
        if self.kind == "microphone":
            return rtc.TrackSource.SOURCE_MICROPHONE
        return rtc.TrackSource.SOURCE_CAMERA

    @property
    def has_device(self) -> bool:
        return self._publisher.device(self.kind) is not None

    @property
    def is_on(self) -> bool:
        """Really published and not muted."""
        return (
            self.publication is not None
            and self.publication.track is not None
            and not self.publication.track.muted
            and self.feed is not None
            and self.feed.open
        )

    @property
    def watched(self) -> bool | None:
        """Whether anybody watches; None when this camera need not know."""
        return self._viewers.watched if self._viewers is not None else None

    @property
    def sent(self) -> int:
        return self.past_sent + (self.feed.sent if self.feed else 0)

    @property
    def dropped(self) -> int:
        return self.past_dropped + (self.feed.dropped if self.feed else 0)

    def set_wish(self, wish: Wish) -> asyncio.Future[None]:
        """Wishes; the future is settled when it is so, or fails with why it cannot be."""
        self.wish = wish
        waiter: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
        self._waiters.append((wish, waiter))
        self.reconcile()
        return waiter

    def open_early(self) -> None:
        """The device opens while the room is still being joined; nothing is sent before the grant."""
        self._make_feed()
        self._early = self._loop.spawn(self._start_capture())

    async def _opened_early(self) -> None:
        early, self._early = self._early, None
        if early is not None:
            await asyncio.wait({early})
            if early.exception() is not None:
                await self._drop_feed()
            early.result()

    def reconcile(self) -> None:
        """Something changed: look again. One task a slot, never two."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = self._loop.spawn(self._reconcile())

    async def _reconcile(self) -> None:
        error: UTDStreamException | None = None
        while self._again:
            self._again = False
            try:
                await self._step()
                error = None
            except UTDStreamException as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - a driver or the core; mapped here
                error = translate(failure, f"publishing the {self.kind}")
        self._publisher.changed()
        waiters, self._waiters = self._waiters, []
        for wish, waiter in waiters:
            if waiter.done():
                continue
            outcome = error
            if error is None and wish is Wish.ON and not self.is_on and self.has_device:
                if self._publisher.reconnecting and self._target is Wish.ON:
                    self._waiters.append((wish, waiter))  # `reconnected` reconciles again
                    continue
                outcome = self._why_not_on()
            if outcome is not None:
                waiter.set_exception(outcome)
                waiter.exception()  # a caller that gave up is no unretrieved exception
            else:
                waiter.set_result(None)
        if error is None:
            self._told = None
        elif not waiters:
            self.tell(error)

    def tell(self, error: BaseException) -> None:
        """A failure that no call raises is reported, once until it works again."""
        if isinstance(error, Exception) and str(error) != self._told:
            self._told = str(error)
            _log.warning("publishing the %s failed: %s", self.kind, error)
            self._publisher.report(CallbackError(error, f"publishing the {self.kind}"))

    def _why_not_on(self) -> UTDStreamException | None:
        """Every step went well and it is not on: the room or the grant went; None when the wish did."""
        publisher = self._publisher
        if publisher.room_end.has_come or publisher.leaving:
            return room_lost(f"publishing the {self.kind}", publisher.room_end.reason or "CLIENT_INITIATED")
        return None if publisher.may_publish(self.source) else publisher.refusal(self)

    @property
    def _target(self) -> Wish:
        if not self.has_device or not self._publisher.may_publish(self.source):
            return Wish.OFF
        return self.wish

    async def _step(self) -> None:
        """One move towards the wish; asks again for the next one."""
        target = self._target
        if self._publisher.room_end.has_come or (target is Wish.OFF and self.publication is None):
            await self._stop_capture()
            return
        if target is Wish.OFF:
            await self._unpublish()
        elif self.publication is None:
            await self._publish(muted=target is Wish.MUTED)
        elif target is Wish.MUTED:
            await self._mute()
        elif not self.is_on:
            await self._unmute()
        if self._target is not target:
            self._again = True

    async def _publish(self, *, muted: bool) -> None:
        if self._publisher.reconnecting:
            return  # publish_track would wait it out; `reconnected` reconciles again
        await self._opened_early()
        self._make_feed()
        feed = self.feed
        assert feed is not None
        if muted:
            await self._stop_capture()  # it may have been opened for a wish that has changed
        if isinstance(feed, MicrophoneFeed):
            track: rtc.LocalTrack = rtc.LocalAudioTrack.create_audio_track("microphone", feed.source)
            options = rtc.TrackPublishOptions(source=self.source)
            if not muted:
                await self._start_capture()
        else:
            if not muted:
                await self._start_capture()
                if not await feed.wait_for_first_frame(FIRST_FRAME_S):
                    feed.on_first_frame(self.reconcile)
                    raise DeviceError(
                        f"the camera delivered no frame within {FIRST_FRAME_S:g} s of its start;"
                        " it is published with its first one"
                    )
            track = feed.make_track()
            options = self._video_options(feed)
            if feed.raw_source is not None:
                feed.open = not muted
        if self._target is Wish.OFF:  # the grant or the wish went while the device opened
            await self._drop_feed()
            return
        if muted:
            self._own_mutes += 1
            track.mute()
        try:
            async with self._publisher.one_at_a_time:
                self.publication = await self._publisher.room_end.guarded(
                    self._publisher.participant.publish_track(track, options),
                    f"publishing the {self.kind}",
                    PUBLISH_TIMEOUT_S,
                )
        except BaseException:
            await self._drop_feed()
            raise
        if not muted:
            self._open_gate(feed)
        self._watch_viewers()

    def _watch_viewers(self) -> None:
        """A camera that may rest is told when nobody watches."""
        device = self._publisher.device(self.kind)
        if isinstance(device, WatchedCamera) and device.encoded:
            self._viewers = ViewerWatch(self._loop, device, self._publisher, self)
            self._viewers.start()

    def _open_gate(self, feed: MicrophoneFeed | CameraFeed) -> None:
        if isinstance(feed, CameraFeed):
            feed.restart_from_key_frame()
        feed.open = True

    def _make_feed(self) -> None:
        if self.feed is not None:
            return
        publisher = self._publisher
        if self.kind == "microphone":
            microphone = publisher.devices.microphone
            assert microphone is not None
            feed: MicrophoneFeed
            if isinstance(microphone, PlatformMicrophone):
                feed = PlatformFeed(microphone.native, microphone, self._loop, publisher.report)
            else:
                feed = MicrophoneFeed(microphone, self._loop, publisher.report)
            feed.start()
            self.feed = feed
        else:
            camera = publisher.devices.camera
            assert camera is not None
            self.feed = CameraFeed(camera, self._loop, publisher.report)

    def _video_options(self, feed: CameraFeed) -> rtc.TrackPublishOptions:
        camera = self._publisher.devices.camera
        assert camera is not None
        pixels_per_second = feed.width * feed.height * camera.frames_per_second
        options = rtc.TrackPublishOptions(
            source=self.source,
            simulcast=False,  # three encoders on a small machine, and none of them possible pre-encoded
            video_encoding=rtc.VideoEncoding(
                max_bitrate=max(MIN_VIDEO_BITRATE_BPS, int(pixels_per_second * VIDEO_BITS_PER_PIXEL)),
                max_framerate=float(camera.frames_per_second),
            ),
        )
        if feed.encoded:
            options.video_codec = rtc.VideoCodec.H264
            options.video_encoder = rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED
        return options

    async def _mute(self) -> None:
        if self.feed is not None:
            self.feed.open = False
        track = self.publication.track if self.publication else None
        if track is not None and not track.muted:
            self._own_mutes += 1
            track.mute()
        await self._stop_capture()

    async def _unmute(self) -> None:
        await self._start_capture()
        track = self.publication.track if self.publication else None
        feed = self.feed
        if track is None or feed is None or self._target is not Wish.ON:
            return
        if isinstance(feed, CameraFeed):
            feed.restart_from_key_frame()
        feed.open = True
        track.unmute()

    async def _unpublish(self) -> None:
        if self._publisher.reconnecting:  # it would hang: mute now, `reconnected` comes back here
            await self._mute()
            return
        publication, self.publication = self.publication, None
        await self._drop_feed()
        if publication is not None:
            await self._publisher.room_end.guarded(
                self._publisher.participant.unpublish_track(publication.sid),
                f"unpublishing the {self.kind}",
                UNPUBLISH_TIMEOUT_S,
            )

    async def _start_capture(self) -> None:
        if self._capturing or self.feed is None:
            return
        device = self._publisher.device(self.kind)
        assert device is not None
        capture = in_use.capture(device)
        self._capture, self._capturing = capture, True
        sink = self.feed.sink
        opening = self._loop.in_thread(lambda: capture.attach(sink), f"utd-open-{self.kind}")
        if not await bounded(opening, OPEN_TIMEOUT_S):
            self._capturing = False
            opening.add_done_callback(
                lambda _: self._loop.in_thread(lambda: capture.detach(sink), "utd-undo")
            )
            raise DeviceError(
                f"the {self.kind} did not open within {OPEN_TIMEOUT_S:g} s; is it in use elsewhere?"
            )
        error = opening.exception()
        if error is not None:
            self._capturing = False
            if isinstance(error, UTDStreamException):
                raise error
            raise DeviceError(f"the {self.kind} could not be opened: {error}") from error

    async def _stop_capture(self) -> None:
        if not self._capturing or self.feed is None or self._capture is None:
            return
        self._capturing = False
        capture, sink = self._capture, self.feed.sink
        capture.forget(sink)
        closing = self._loop.in_thread(lambda: capture.detach(sink), f"utd-close-{self.kind}")
        if not await bounded(closing, 1.0):
            _log.warning("the %s did not stop within 1 s; the call goes on without waiting", self.kind)

    async def _drop_feed(self) -> None:
        viewers, self._viewers = self._viewers, None
        if viewers is not None:
            viewers.close()
        early, self._early = self._early, None
        if early is not None:
            await asyncio.wait({early})
        await self._stop_capture()
        feed, self.feed = self.feed, None
        if feed is not None:
            self.past_sent += feed.sent
            self.past_dropped += feed.dropped
            await feed.close()

    # -- events of the room ----------------------------------------------------------------------

    def muted_event(self) -> None:
        """The core says our track is muted: an echo of our own mute, or the server's, which we obey."""
        if self._own_mutes > 0:
            self._own_mutes -= 1
        elif self.wish is Wish.ON:
            self.wish = Wish.MUTED
            self.reconcile()

    def check_survival(self) -> None:
        """After a reconnect: a track that did not come back is published anew; muted stays muted."""
        if self.publication is not None and all(
            other is not self.publication for other in self._publisher.participant.track_publications.values()
        ):
            _log.info("the %s did not survive the reconnect and is published again", self.kind)
            self.publication = None
        self.reconcile()

    async def room_ended(self) -> None:
        if self.feed is not None:
            self.feed.open = False
        publication, self.publication = self.publication, None
        unpublishing: asyncio.Task[None] | None = None
        if publication is not None:
            unpublishing = self._loop.spawn(self._publisher.participant.unpublish_track(publication.sid))
            await asyncio.sleep(0)  # its request is made in its first step
        await self._drop_feed()
        if unpublishing is not None:
            await asyncio.wait({unpublishing}, timeout=ENDED_UNPUBLISH_S)
            unpublishing.cancel()  # its answer comes through a queue that nobody feeds any more
        if self._waiters:
            self.reconcile()  # tells them


class Publisher:
    """Both slots of one connection. Loop thread."""

    def __init__(
        self, loop: LoopThread, devices: Devices, report: Report, changed: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.devices = devices
        self.report = report
        self.changed = changed
        self.reconnecting = False
        self.leaving = False
        self.room_end = RoomEnd(loop)
        self._last_wishes: dict[str, bool] = {}
        self._room: rtc.Room | None = None
        self.one_at_a_time = asyncio.Lock()
        self.microphone = Slot(self, "microphone")
        self.camera = Slot(self, "camera")
        self.slots = (self.microphone, self.camera)

    def slot(self, kind: str) -> Slot:
        return self.microphone if kind == "microphone" else self.camera

    def wishes(self) -> dict[str, bool]:
        """What is wished for: on (True) or muted (False)."""
        return dict(self._last_wishes if self.room_end.has_come else self._present_wishes())

    def _present_wishes(self) -> dict[str, bool]:
        return {slot.kind: slot.wish is Wish.ON for slot in self.slots if slot.wish is not Wish.OFF}

    def device(self, kind: str) -> Microphone | Camera | None:
        return self.devices.microphone if kind == "microphone" else self.devices.camera

    @property
    def alone(self) -> bool:
        """Nobody else is in the room."""
        return self._room is None or not self._room.remote_participants

    @property
    def participant(self) -> rtc.LocalParticipant:
        assert self._room is not None
        return self._room.local_participant

    def may_publish(self, source: rtc.TrackSource.ValueType) -> bool:
        """What the SFU allows now. Sources absent means all."""
        if self._room is None or self.room_end.has_come:
            return False
        permissions = self.participant.permissions
        allowed = permissions.can_publish_sources
        return permissions.can_publish and (not allowed or source in allowed)

    def refusal(self, slot: Slot) -> PublishRefused:
        return PublishRefused(
            f"publishing the {slot.kind}: the media server has not granted it; take a seat, go on stage "
            "or join with a token that may publish"
        )

    def open_early(self) -> None:
        """Devices that will be published for certain open while the room is being joined."""
        for slot in self.slots:
            if slot.wish is Wish.ON and slot.has_device:
                slot.open_early()

    def start(self, room: rtc.Room) -> None:
        """The room is connected: make the wishes so."""
        self._room = room
        for slot in self.slots:
            if slot.wish is not Wish.OFF:
                slot.reconcile()

    async def settle(self) -> None:
        """Until every wish is met or has failed. Failures are reported, not raised."""
        wishing = [slot for slot in self.slots if slot.wish is not Wish.OFF]
        outcomes = await asyncio.gather(
            *(slot.set_wish(slot.wish) for slot in wishing), return_exceptions=True
        )
        for slot, outcome in zip(wishing, outcomes, strict=True):
            if isinstance(outcome, DeviceError):  # all else is the room's end, which tells itself
                slot.tell(outcome)

    def permissions_changed(self) -> None:
        for slot in self.slots:
            slot.reconcile()

    def reconnect_began(self) -> None:
        self.reconnecting = True

    def reconnected(self) -> None:
        self.reconnecting = False
        for slot in self.slots:
            slot.check_survival()

    async def close(self, *, unpublish: bool) -> None:
        """Before leaving: devices stop, tracks are unpublished (leaves no memory behind)."""
        self.leaving = True
        for slot in self.slots:
            slot.wish = Wish.OFF
        if unpublish and not self.room_end.has_come:
            waits = [slot.set_wish(Wish.OFF) for slot in self.slots]
            await asyncio.gather(*waits, return_exceptions=True)

    def end(self, reason: str) -> asyncio.Task[None]:
        """The room is over: wakes whoever waits for an answer, stops the devices, frees the tracks."""
        self._last_wishes = self._present_wishes()
        self.room_end.come(reason)
        return self.loop.spawn(self._end_slots())

    async def _end_slots(self) -> None:
        await asyncio.gather(*(slot.room_ended() for slot in self.slots), return_exceptions=True)
        self.changed()
