"""What this participant publishes: microphone and camera of one connection, together.

Owns: `Publisher` with its two slots, and the choice of the feed that brings a device into the core. What one slot
does is in `slot`. Thread: all of it on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from livekit import rtc

from utdstream._livekit.audio_path import AudioPath, PublicAudioPath
from utdstream._livekit.capture import CameraCapture, Capture
from utdstream._livekit.feed import Feed
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.platform_audio import NativeAudio, PlatformFeed
from utdstream._livekit.properties import native_sound, sound_format
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.sending_side import SendingSide
from utdstream._livekit.slot import Slot
from utdstream._livekit.sources import EncodedCameraFeed, RawCameraFeed
from utdstream._threads.wishes import Wishes
from utdstream.errors import DeviceError
from utdstream.media import Camera, Devices, EncodedFrame, Microphone, PcmFrame, RawFrame
from utdstream.observe import Report


class Publisher:
    """Both slots of one connection. Thread: loop, all of it."""

    def __init__(
        self,
        loop: LoopThread,
        devices: Devices,
        wishes: Wishes,
        end: RoomEnd,
        report: Report,
        changed: Callable[[], None],
        *,
        path: AudioPath = PublicAudioPath(),  # noqa: B008 - without state
    ) -> None:
        self._loop = loop
        self._path = path
        self._report = report
        self._changed = changed
        self._side = SendingSide(end)
        self._wishes = wishes
        self.microphone = self._microphone_slot(devices.microphone)
        self.camera = self._camera_slot(devices.camera)
        self.slots = {slot.kind: slot for slot in (self.microphone, self.camera)}

    def _microphone_slot(self, microphone: Microphone | None) -> Slot:
        if microphone is None:
            return self._slot("microphone", None)
        return self._slot(
            "microphone",
            Capture(self._loop, "microphone", microphone),
            lambda: microphone_feed(microphone, self._path, self._loop, self._report),
        )

    def _camera_slot(self, camera: Camera | None) -> Slot:
        if camera is None:
            return self._slot("camera", None)
        own = CameraCapture(self._loop, camera)
        return self._slot("camera", own, lambda: camera_feed(own, self._loop, self._report))

    def _slot(
        self, kind: str, capture: Capture | None, make_feed: Callable[[], Feed[Any]] | None = None
    ) -> Slot:
        return Slot(
            self._loop,
            self._side,
            self._wishes,
            kind,
            capture,
            make_feed=make_feed,
            changed=self._changed,
            report=self._report,
        )

    # -- before and while the room lives ---------------------------------------------------------

    def open_early(self) -> None:
        """Opens the devices that are wished on while the room is still being joined."""
        for kind, slot in self.slots.items():
            if self._wishes.of(kind).is_on:
                slot.open_early()

    def start(self, room: rtc.Room) -> None:
        """Begins to meet the wishes: the room is connected."""
        self._side.room = room
        self.reconcile()

    def reconcile(self) -> None:
        """Looks at every wish again."""
        for slot in self.slots.values():
            slot.reconcile()

    async def met(self, kinds: Iterable[str]) -> None:
        """Returns when these wishes are met; else raises what the first that failed raised."""
        waits = [self.slots[kind].met() for kind in kinds]
        if waits:
            await asyncio.wait(waits)
        for wait in waits:
            wait.result()

    async def settle(self) -> None:
        """Returns when every wish is met or has failed. Failures are reported, not raised."""
        wishing = [slot for slot in self.slots.values() if self._wishes.of(slot.kind).published]
        outcomes = await asyncio.gather(*(slot.met() for slot in wishing), return_exceptions=True)
        for slot, outcome in zip(wishing, outcomes, strict=True):
            if isinstance(outcome, DeviceError):  # all else is the room's end, which tells itself
                slot.tell(outcome)

    def require_permission(self, kind: str) -> None:
        """Raises PublishRefused when the SFU does not allow it now."""
        if not self._side.allows(kind):
            raise self.slots[kind].refusal()

    # -- events of the room ----------------------------------------------------------------------

    @property
    def reconnecting(self) -> bool:
        return self._side.reconnecting

    def permissions_changed(self) -> None:
        """Publishes what has been allowed, withdraws what is not any more."""
        self.reconcile()

    def heard_muted(self, publication: rtc.TrackPublication, *, muted: bool) -> None:
        """Hands the mute to the slot whose track it is."""
        for slot in self.slots.values():
            slot.heard_muted(publication, muted=muted)

    def reconnect_began(self) -> None:
        """Publishes and unpublishes nothing until `reconnected`."""
        self._side.reconnecting = True
        for slot in self.slots.values():
            slot.reconnect_began()

    def reconnected(self) -> None:
        """Publishes anew what did not survive, and does what waited."""
        self._side.reconnected()
        for slot in self.slots.values():
            slot.check_survival()

    # -- the end ---------------------------------------------------------------------------------

    async def close(self, *, unpublish: bool) -> None:
        """Stops the devices and unpublishes the tracks before leaving (leaves no memory behind)."""
        self._side.leaving = True
        if unpublish and not self._side.end.has_come:
            await asyncio.gather(*(slot.met() for slot in self.slots.values()), return_exceptions=True)

    def end(self, reason: str, *, unpublish: bool) -> asyncio.Task[None]:
        """Wakes every request that waits for an answer, stops the devices, frees the tracks: the room is over.

        `unpublish`: it ended under us. The task is done when the devices are closed and the tracks are freed.
        """
        self._side.end.come(reason)
        return self._loop.spawn(self._end_slots(unpublish=unpublish))

    async def _end_slots(self, *, unpublish: bool) -> None:
        ends = (slot.room_ended(unpublish=unpublish) for slot in self.slots.values())
        await asyncio.gather(*ends, return_exceptions=True)
        self._side.room = None
        self._changed()


def microphone_feed(
    microphone: Microphone, path: AudioPath, loop: LoopThread, report: Report
) -> Feed[PcmFrame]:
    """Chooses the way of this microphone's sound into the core. Thread: loop. Raises: DeviceError."""
    native = native_sound(microphone)
    if isinstance(native, NativeAudio):  # the core captures by itself (`utdstream.platform_audio`)
        return PlatformFeed(native, loop, report)
    return path.microphone_feed(sound_format("microphone", microphone), loop, report)


def camera_feed(camera: CameraCapture, loop: LoopThread, report: Report) -> Feed[RawFrame | EncodedFrame]:
    """Chooses the way of this camera's pictures into the core. Thread: loop. Raises: DeviceError."""
    picture = camera.read_picture()
    if picture.encoded:
        return EncodedCameraFeed(picture, camera, loop, report)
    return RawCameraFeed(picture, loop, report)
