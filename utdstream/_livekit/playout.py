"""Remote sound on its way out: one short ring a track, mixed when somebody pulls.

Owns: `PcmRing` (written by the loop, read by the thread that plays), `Mixer` (all rings of one consumer).
Threads: the loop pushes, a speaker's own thread or the reader of `audio_frames()` pulls. No lock is held while
calling out.

Each ring holds at most RING_MS, more only for a card whose periods are longer, and drops its oldest sound
when it is full: delay cannot grow. It starts again only with PRIME_MS in hand, or what is pulled at once and a
frame, so a late frame costs one short gap, not a row of clicks; what came before somebody pulled is not played
late. What has lain there unneeded for LOOK_MS (the peer's clock is the faster one, or the card paused) is dropped
too: delay does not stay.
"""

from __future__ import annotations

import threading

import numpy

from utdstream.media import BYTES_PER_SAMPLE, PcmFormat

RING_MS = 120
RESERVE_MS = 60
"""What fits into a ring beside one pull, however long the card's periods are."""
MOST_PULL_MS = 10_000
"""Of a longer pull only this much is waited for: the rest of it is silence."""
PRIME_MS = 20
LOOK_MS = 1000
SLACK_MS = 4
"""What may lie there unneeded; an underrun makes it SLACK_STEP_MS more, to MOST_SLACK_MS."""
SLACK_STEP_MS = 6
MOST_SLACK_MS = 40


class PcmRing:
    """The sound of one remote track that has not been played yet."""

    def __init__(self, audio_format: PcmFormat) -> None:
        self._lock = threading.Lock()  # held for one append or one slice
        self._pcm = bytearray()
        self._sample_bytes = audio_format.channels * BYTES_PER_SAMPLE
        self._limit = audio_format.frame_bytes * (RING_MS // 10)
        self._reserve = audio_format.frame_bytes * (RESERVE_MS // 10)
        self._most = audio_format.frame_bytes * (MOST_PULL_MS // 10)
        self._prime = audio_format.frame_bytes * (PRIME_MS // 10)
        self._look = audio_format.frame_bytes * (LOOK_MS // 10)
        self._ms = audio_format.frame_bytes // 10
        self._slack = self._ms * SLACK_MS
        self._primed = False
        self._looked = 0
        self._least: int | None = None
        self.underruns = 0
        self.dropped_bytes = 0

    def push(self, pcm: bytes | bytearray | memoryview) -> None:
        """Adds sound; the oldest goes when there is too much."""
        with self._lock:
            self._pcm += pcm
            excess = len(self._pcm) - self._limit
            if excess > 0:
                del self._pcm[:excess]
                self.dropped_bytes += excess

    def pull(self, size: int) -> bytes | None:
        """Takes exactly `size` bytes, the end padded with silence on an underrun; None when there is nothing."""
        with self._lock:
            expected = min(size, self._most)
            self._limit = max(self._limit, expected + self._reserve)
            if not self._primed:
                needed = max(self._prime, expected + self._prime // 2)
                if len(self._pcm) < needed:
                    return None
                self._primed = True
                self._drop(len(self._pcm) - needed)
                self._looked, self._least = 0, None
            self._trim(size)
            pcm = bytes(self._pcm[:size])
            del self._pcm[:size]
            if len(pcm) == size:
                return pcm
            # The silence behind a long period is itself the reserve that was missing; behind a short one it would
            # be a row of clicks.
            self._primed = len(pcm) > 0 and size > self._prime
            self.underruns += 1
            self._slack = min(self._slack + self._ms * SLACK_STEP_MS, self._ms * MOST_SLACK_MS)
        return pcm + bytes(size - len(pcm)) if pcm else None

    def _trim(self, size: int) -> None:
        """Drops what was never needed in the last LOOK_MS. Before each pull, with the lock."""
        left = len(self._pcm) - size
        self._least = left if self._least is None else min(self._least, left)
        self._looked += size
        if self._looked < self._look:
            return
        unneeded = self._least - self._slack
        if unneeded > self._ms * SLACK_MS:
            self._drop(unneeded)
        self._looked, self._least = 0, None

    def _drop(self, size: int) -> None:
        if size > 0:
            size -= size % self._sample_bytes
            del self._pcm[:size]
            self.dropped_bytes += size


class Mixer:
    """Everything one consumer hears, as one stream of `format`. Any thread."""

    def __init__(self, audio_format: PcmFormat) -> None:
        self.format = audio_format
        self._rings: tuple[PcmRing, ...] = ()
        self._lock = threading.Lock()
        self._past_underruns = 0

    def open_ring(self) -> PcmRing:
        """Adds a ring for one more track."""
        ring = PcmRing(self.format)
        with self._lock:
            self._rings = (*self._rings, ring)
        return ring

    def close_ring(self, ring: PcmRing) -> None:
        """Takes out the ring of a track that is gone; its underruns stay counted."""
        with self._lock:
            self._rings = tuple(other for other in self._rings if other is not ring)
            self._past_underruns += ring.underruns

    @property
    def underruns(self) -> int:
        return self._past_underruns + sum(ring.underruns for ring in self._rings)

    def pull(self, samples: int) -> bytes:
        """Mixes exactly `samples` a channel, however many, at once; silence when nobody speaks."""
        size = max(0, samples) * self.format.channels * BYTES_PER_SAMPLE
        return mix([pcm for ring in self._rings if (pcm := ring.pull(size)) is not None], size)


def mix(parts: list[bytes], size: int) -> bytes:
    """Adds up equally long int16 parts, clipped; silence when there are none."""
    if not parts:
        return bytes(size)
    if len(parts) == 1:
        return parts[0]
    total = numpy.zeros(size // BYTES_PER_SAMPLE, dtype=numpy.int32)
    for part in parts:
        total += numpy.frombuffer(part, dtype=numpy.int16)
    return numpy.clip(total, -32768, 32767).astype(numpy.int16).tobytes()
