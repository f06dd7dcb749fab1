"""A loudspeaker that remembers what it played, and when.

Owns: `Ear`, the demo's speaker on both sides. Thread: the speaker's own hears; any may look.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy

from utdstream._command.demo.measure import RATE_HZ, tone_hz
from utdstream.media import BYTES_PER_SAMPLE
from utdstream.synthetic import NullSpeaker

LOUD = 1_000
"""A sample above this is no silence: the tones are ten times louder, the codec's noise far below."""
_LOOK_BACK_S = 0.2


class Ear:
    """A `Speaker`: pulls sound in real time and keeps all of it on one timeline without holes."""

    def __init__(self) -> None:
        self._speaker = NullSpeaker(sample_rate_hz=RATE_HZ)
        self.format = self._speaker.format
        self._pcm = bytearray()
        self._holes = 0
        self.begun_at: float | None = None
        """When the first sample was played, by `time.monotonic`."""
        self.first_sound_at: float | None = None

    def start(self, source: Callable[[int], bytes]) -> None:
        """Begins to pull."""
        self._speaker.start(lambda samples: self._hear(source(samples)))

    def stop(self) -> None:
        """Stops pulling. Idempotent."""
        self._speaker.stop()

    def _hear(self, pcm: bytes) -> bytes:
        now = time.monotonic()
        if self.begun_at is None:
            self.begun_at = now
        # A speaker that was held up skips frames: on the timeline of a listener they are silence.
        missed, self._holes = self._speaker.frames_skipped - self._holes, self._speaker.frames_skipped
        self._pcm += bytes(missed * self.format.frame_bytes) + pcm
        if self.first_sound_at is None and numpy.abs(numpy.frombuffer(pcm, numpy.int16)).max() > LOUD:
            self.first_sound_at = now
        return pcm

    def hears_hz(self) -> float | None:
        """Returns the tone of this moment, None in silence."""
        newest = bytes(self._pcm[-int(_LOOK_BACK_S * RATE_HZ) * BYTES_PER_SAMPLE :])
        samples = numpy.frombuffer(newest, numpy.int16)
        if not len(samples) or numpy.abs(samples).max() <= LOUD:
            return None
        return tone_hz(samples)

    def report(self, path: Path) -> dict[str, object]:
        """Writes the sound to `path` (int16, mono); the times that belong to it."""
        path.write_bytes(self._pcm)
        return {"begun_at": self.begun_at, "first_sound_at": self.first_sound_at}
