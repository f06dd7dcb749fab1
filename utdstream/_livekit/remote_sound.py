"""One remote track's sound for everybody here who hears it.

Owns: `RemoteSound`, all of it of one connection. Thread: the loop opens and closes; the path's thread pushes, and
each listener pulls from a ring of its own.

Listeners of one track in one format share one stream out of the core: each open stream resamples, copies and calls
back a hundred times a second.
"""

from __future__ import annotations

import asyncio

from livekit import rtc

from utdstream._livekit.audio_path import AudioPath, Flow
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.playout import Mixer, PcmRing
from utdstream.media import Buffer, PcmFormat


class _Sound:
    """The sound of one track in one format."""

    def __init__(self) -> None:
        self.rings: tuple[PcmRing, ...] = ()
        """Replaced, never changed: the pushing thread reads it while the loop adds and takes out."""
        self.flow: Flow | None = None

    def push(self, pcm: Buffer) -> None:
        for ring in self.rings:
            ring.push(pcm)


class Share:
    """One mixer's share of a track, from `RemoteSound.hear` to `close`."""

    def __init__(self, sound: RemoteSound, key: tuple[str, PcmFormat], mixer: Mixer, ring: PcmRing) -> None:
        self._sound = sound
        self._key = key
        self._mixer = mixer
        self._ring = ring

    def close(self) -> asyncio.Future[None]:
        """Ends it at once; the future is settled when the core's end is closed too, if nobody else hears it."""
        self._mixer.close_ring(self._ring)
        return self._sound.stop(self._key, self._ring)


class RemoteSound:
    """All remote sound of one connection."""

    def __init__(self, loop: LoopThread, path: AudioPath) -> None:
        self._loop = loop
        self._path = path
        self._sounds: dict[tuple[str, PcmFormat], _Sound] = {}

    def hear(self, track: rtc.Track, sid: str, mixer: Mixer) -> Share:
        """Brings the track's sound into a ring of `mixer`, in its format."""
        key = (sid, mixer.format)
        sound = self._sounds.get(key)
        if sound is None:
            sound = _Sound()
            sound.flow = self._path.open_stream(self._loop, track, mixer.format, sound.push)
            self._sounds[key] = sound
        ring = mixer.open_ring()
        sound.rings = (*sound.rings, ring)
        return Share(self, key, mixer, ring)

    def stop(self, key: tuple[str, PcmFormat], ring: PcmRing) -> asyncio.Future[None]:
        """Brings nothing more into `ring`, and closes the stream with its last one."""
        sound = self._sounds[key]
        sound.rings = tuple(other for other in sound.rings if other is not ring)
        if sound.rings or sound.flow is None:
            nothing: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
            nothing.set_result(None)
            return nothing
        del self._sounds[key]
        flow, sound.flow = sound.flow, None
        return flow.close()
