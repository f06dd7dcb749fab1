"""One thing to publish: wished, allowed, actual, and the reconciler that makes the three meet.

Owns: `Slot`. Thread: all of it on the loop. The wish is of the session (`_threads/wishes`): a slot reads it when
it looks.

1. A slot publishes only while the SFU allows its source; an HTTP answer is never taken for a grant.
2. Permission withdrawn: the core does not tell, so the slot unpublishes and stops the device itself.
3. While published, on and off are unmute and mute, and the device stops while muted.
4. While reconnecting an unpublish would hang: mute now, unpublish when it is back.
5. A camera's first frame comes before its track is published (viewers would see black). One that is late is
   reported and stays open: its first frame publishes it, as long as that is still wished.
6. A room that ended under us: unpublish at once, without waiting (else threads leak, rust-sdks #1443). One that we
   leave or give up while it reconnects: not at all, leaving it frees the tracks. What is unpublished in the moment
   that the core brings the room back ends the process (livekit 1.2.1: `track().unwrap()` in `handle_restarted`),
   and right after the room was left it may take the next room's sound along.
7. While the room reconnects a wish stands, and whoever made it is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from livekit import rtc

from utdstream._livekit.capture import CameraCapture, Capture
from utdstream._livekit.errors import room_lost, translate
from utdstream._livekit.feed import Feed
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.muting import AGAIN_S, TrackMute
from utdstream._livekit.sending_side import SendingSide
from utdstream._livekit.viewers import ViewerWatch, layer_is_active
from utdstream._threads.wishes import NOTHING, Wish, Wishes
from utdstream.errors import DeviceError, PublishRefused, UTDStreamException
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)

FIRST_FRAME_S = 3.0
ENDED_UNPUBLISH_S = 0.5


class Slot:
    """One thing to publish. `kind` is microphone or camera; `capture` and `make_feed` None: there is no device."""

    def __init__(
        self,
        loop: LoopThread,
        side: SendingSide,
        wishes: Wishes,
        kind: str,
        capture: Capture | None,
        *,
        make_feed: Callable[[], Feed[Any]] | None,
        changed: Callable[[], None],
        report: Report,
    ) -> None:
        self._loop = loop
        self._side = side
        self._wishes = wishes
        self.kind = kind
        self._capture = capture
        self._make_feed = make_feed
        self._changed = changed
        self._report = report
        self._publication: rtc.LocalTrackPublication | None = None
        self._published_at = 0.0
        self._feed: Feed[Any] | None = None
        self._viewers: ViewerWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._waiters: list[tuple[Wish, asyncio.Future[None]]] = []
        self._mute_of_track = TrackMute(loop.asyncio_loop.time)
        self._told: str | None = None
        self._past_sent = 0
        self._past_dropped = 0

    # -- what it is ------------------------------------------------------------------------------

    @property
    def has_device(self) -> bool:
        return self._capture is not None

    @property
    def is_on(self) -> bool:
        """Really published and not muted."""
        return self._publication is not None and not self._mute_of_track.muted

    @property
    def watched(self) -> bool | None:
        """Whether anybody watches; None when this camera need not know."""
        return self._viewers.watched if self._viewers is not None else None

    @property
    def sent(self) -> int:
        """Frames sent since the connection was made."""
        return self._past_sent + (self._feed.sent if self._feed else 0)

    @property
    def dropped(self) -> int:
        """Frames of the device that were not sent since the connection was made."""
        return self._past_dropped + (self._feed.dropped if self._feed else 0)

    @property
    def _track(self) -> rtc.LocalTrack | None:
        return self._publication.track if self._publication is not None else None

    def refusal(self) -> PublishRefused:
        """Makes the error for a slot that the SFU does not allow."""
        return PublishRefused(
            f"publishing the {self.kind}: the media server has not granted it; take a seat, go on stage "
            "or join with a token that may publish"
        )

    # -- wishes ----------------------------------------------------------------------------------

    def met(self) -> asyncio.Future[None]:
        """Looks again; the future is settled when the present wish is met, or fails with why it cannot be."""
        waiter: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
        self._waiters.append((self._wishes.of(self.kind), waiter))
        self.reconcile()
        return waiter

    def open_early(self) -> None:
        """Opens the device while the room is still being joined; nothing is sent before the grant."""
        if self._capture is not None:
            with contextlib.suppress(UTDStreamException):  # the reconciler meets it again, and tells
                self._capture.open_early(self._ensure_feed().sink)

    def reconcile(self) -> None:
        """Looks again, because something changed. One task a slot, never two."""
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
        self._changed()
        waiters, self._waiters = self._waiters, []
        for wish, waiter in waiters:
            if not waiter.done():
                self._settle(wish, waiter, error)
        if error is None:
            self._told = None
        elif not waiters:
            self.tell(error)

    def _settle(self, wish: Wish, waiter: asyncio.Future[None], error: UTDStreamException | None) -> None:
        if (
            error is None
            and wish.is_on
            and not self.is_on
            and self.has_device
            and not self._side.reconnecting
        ):
            error = self._why_not_on()
        if error is not None:
            waiter.set_exception(error)
            waiter.exception()  # a caller that gave up is no unretrieved exception
        else:
            waiter.set_result(None)

    def tell(self, error: BaseException) -> None:
        """Reports a failure that no call raises, once until it works again."""
        if isinstance(error, Exception) and str(error) != self._told:
            self._told = str(error)
            _log.warning("publishing the %s failed: %s", self.kind, error)
            self._report(CallbackError(error, f"publishing the {self.kind}"))

    def _why_not_on(self) -> UTDStreamException | None:
        """Explains what is not on though every step went well: room or grant went; None when the wish did."""
        end = self._side.end
        if end.has_come or self._side.leaving:
            return room_lost(f"publishing the {self.kind}", end.reason or "CLIENT_INITIATED")
        return None if self._side.allows(self.kind) else self.refusal()

    @property
    def _target(self) -> Wish:
        if not self.has_device or self._side.leaving or not self._side.allows(self.kind):
            return NOTHING
        return self._wishes.of(self.kind)

    # -- steps -----------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Makes one move towards the wish, and asks for the next one."""
        target = self._target
        if self._side.end.has_come or (not target.published and self._publication is None):
            await self._close_device()
            return
        if not target.published:
            await self._unpublish()
        elif self._publication is None:
            await self._publish(muted=target.muted)
        elif target.muted:
            await self._mute()
        elif not self.is_on:
            await self._unmute()
        if self._mute_of_track.in_doubt and not self._side.reconnecting:
            await self._repeat_mute()
        if self._target != target:
            self._again = True

    async def _publish(self, *, muted: bool) -> None:
        if self._side.reconnecting:
            return  # publish_track would wait it out; `check_survival` reconciles again
        feed = self._ensure_feed()
        if muted:
            await self._close_device()  # it may have been opened for a wish that has changed
        else:
            await self._open_device(feed)
            if not await feed.wait_for_device(FIRST_FRAME_S):
                feed.on_device_ready(self.reconcile)
                raise DeviceError(
                    f"the {self.kind} delivered no frame within {FIRST_FRAME_S:g} s of its start;"
                    " it is published with its first one"
                )
        if not self._target.published:  # the grant or the wish went while the device opened
            await self._drop_feed()
            return
        track, options = feed.make_track(), feed.publish_options()
        self._mute_of_track.begin(track, muted=muted)
        if not muted:
            feed.prime()
        try:
            self._publication = await self._side.publish(self.kind, track, options)
            self._published_at = self._loop.asyncio_loop.time()
        except BaseException:
            await self._drop_feed()
            raise
        if not muted:
            feed.let_pass()
        self._watch_viewers()

    async def _mute(self) -> None:
        if self._feed is not None:
            self._feed.open = False
        self._tell_muted(muted=True)
        await self._close_device()

    async def _unmute(self) -> None:
        if self._feed is not None:
            await self._open_device(self._feed)
        feed = self._feed
        if self._track is None or feed is None or not self._target.is_on:
            return
        feed.let_pass()
        self._tell_muted(muted=False)

    def _tell_muted(self, *, muted: bool) -> None:
        if self._track is not None:
            self._mute_of_track.tell(self._track, muted=muted, reconnecting=self._side.reconnecting)

    async def _repeat_mute(self) -> None:
        """Tells the SFU once more whether the track is muted: it may not know. Nothing is sent meanwhile."""
        track, feed = self._track, self._feed
        if track is None or feed is None:
            return
        feed.open = False
        if await self._mute_of_track.repeat(track):
            self._loop.asyncio_loop.call_later(AGAIN_S, self._repeat_again, track)
        if not self._mute_of_track.muted:
            feed.let_pass()

    def _repeat_again(self, track: rtc.LocalTrack) -> None:
        if track is self._track:
            self._mute_of_track.doubt_again()
            self.reconcile()

    async def _unpublish(self) -> None:
        if self._side.reconnecting:  # rule 4
            await self._mute()
            return
        if self._publication is not None and (unsettled_s := self._side.unsettled_s(self._published_at)):
            await self._mute()
            self._changed()
            self._again = True  # the next step looks at what is wished then, and whether there is a room
            await self._side.end.comes_within(unsettled_s)
            return
        publication, self._publication = self._publication, None
        await self._drop_feed()
        if publication is not None:
            await self._side.unpublish(self.kind, publication)

    def _watch_viewers(self) -> None:
        """Has a camera that may rest told when nobody watches."""
        camera, side = self._capture, self._side
        if isinstance(camera, CameraCapture) and camera.may_rest:
            self._viewers = ViewerWatch(
                self._loop,
                camera,
                is_alone=lambda: side.is_alone,
                is_reconnecting=lambda: side.reconnecting,
                layer_is_active=lambda: layer_is_active(self._track),
            )
            self._viewers.start()

    # -- feed and device -------------------------------------------------------------------------

    def _ensure_feed(self) -> Feed[Any]:
        if self._feed is None:
            assert self._make_feed is not None
            self._feed = self._make_feed()
        return self._feed

    async def _open_device(self, feed: Feed[Any]) -> None:
        if self._capture is None:
            return
        try:
            await self._capture.open(feed.sink)
        except UTDStreamException:
            self._capture.on_return(self.reconcile)  # one that hangs is used as soon as it comes back
            raise

    async def _close_device(self) -> None:
        if self._capture is not None:
            await self._capture.close()

    async def _drop_feed(self) -> None:
        viewers, self._viewers = self._viewers, None
        if viewers is not None:
            viewers.close()
        await self._close_device()
        feed, self._feed = self._feed, None
        if feed is not None:
            self._past_sent += feed.sent
            self._past_dropped += feed.dropped
            await feed.close()

    # -- events of the room ----------------------------------------------------------------------

    def heard_muted(self, publication: rtc.TrackPublication, *, muted: bool) -> None:
        """Hears that a track was muted or unmuted; when the server has muted ours, we obey."""
        if publication is not self._publication:
            return
        if self._mute_of_track.hear(muted=muted) and self._wishes.of(self.kind).is_on:
            self._wishes.change(self.kind, muted=True)
            self.reconcile()

    def reconnect_began(self) -> None:
        """Doubts what was told a moment ago."""
        self._mute_of_track.doubt()

    def check_survival(self) -> None:
        """Publishes a track anew that did not come back after a reconnect; muted stays muted."""
        if self._publication is not None and all(
            other is not self._publication for other in self._side.participant.track_publications.values()
        ):
            _log.info("the %s did not survive the reconnect and is published again", self.kind)
            self._publication = None
        self.reconcile()

    async def room_ended(self, *, unpublish: bool) -> None:
        """Unpublishes (rule 6), stops the device, fails the wishes that still wait."""
        if self._feed is not None:
            self._feed.open = False
        publication, self._publication = self._publication, None
        unpublishing: asyncio.Task[None] | None = None
        if publication is not None and unpublish:
            unpublishing = self._loop.spawn(self._side.participant.unpublish_track(publication.sid))
            await asyncio.sleep(0)  # its request is made in its first step
        await self._drop_feed()
        if unpublishing is not None:
            await asyncio.wait({unpublishing}, timeout=ENDED_UNPUBLISH_S)
            unpublishing.cancel()  # its answer comes through a queue that nobody feeds any more
        if self._waiters:
            self.reconcile()
