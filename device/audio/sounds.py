"""Local sounds over a speaker: the chime of a press, an announcement, also while a call plays.

Owns: `LocalSounds`. Threads: `play` returns at once (a thread `utd-sounds` opens and closes the card when no call
has it open); the card's own thread pulls.

1. It stands above the echo canceller, so that the canceller hears the chime too.
2. A new sound replaces the one that plays: a press always chimes at once.
3. A doorbell that waits has not loaded `pcm`, nor numpy with it, which is 13 MiB.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from utdstream import DeviceError, Speaker, UTDStreamException
from utdstream.media import PcmFormat

_log = logging.getLogger(__name__)

MAX_SOUND_S = 30.0
"""What a longer file holds after it is not played."""
CLOSE_S = 1.0


class LocalSounds:
    """A `utdstream.Speaker` around another that can also `play` sounds of this device."""

    def __init__(self, speaker: Speaker) -> None:
        self.device = speaker
        self._operation = threading.Lock()  # one open or close of the card at a time; never taken by a pull
        self._source: Callable[[int], bytes] | None = None
        self._sound = b""
        self._at = 0
        self._open = False
        self._sounds: dict[Path | None, bytes] = {}
        self._finished = threading.Event()
        self._closer: threading.Thread | None = None
        self.last_error: UTDStreamException | None = None

    @property
    def format(self) -> PcmFormat:
        return self.device.format

    @property
    def problem(self) -> str | None:
        """What is wrong with the card now."""
        return getattr(self.device, "problem", None)

    def load(self, path: Path | None) -> bytes:
        """Reads the sound of a WAV file (int16; None: the chime) in the card's format. Raises: AudioFailed."""
        from device.audio import pcm  # rule 3; here, not in the card's thread

        if path not in self._sounds:
            self._sounds[path] = (
                pcm.chime(self.format) if path is None else pcm.read_wav(path, self.format, MAX_SOUND_S)
            )
        return self._sounds[path]

    def play(self, path: Path | None = None) -> None:
        """Plays a sound from its beginning, over whatever plays. Returns at once. Raises: AudioFailed."""
        self._at, self._sound = 0, self.load(path)
        self._finished.clear()
        if self._closer is None or not self._closer.is_alive():
            self._closer = threading.Thread(target=self._play_out, name="utd-sounds", daemon=True)
            self._closer.start()

    def wait(self, timeout: float = MAX_SOUND_S) -> bool:
        """Waits until the sound is over; True when it is. Blocks: to `timeout`."""
        closer = self._closer
        if closer is not None:
            closer.join(timeout)
        return closer is None or not closer.is_alive()

    def close(self) -> None:
        """Ends a sound that plays; the card is freed unless a call uses it. Idempotent. Blocks: one second."""
        self._sound = b""
        self._finished.set()
        self.wait(CLOSE_S)

    def start(self, source: Callable[[int], bytes]) -> None:
        """Plays a call from now on. Raises: DeviceError when one does already."""
        with self._operation:
            if self._source is not None:
                raise DeviceError("the speaker is started already; stop it first")
            self._source = source
            self._settle()

    def stop(self) -> None:
        """Stops: no call of the source begins after this returns. Idempotent."""
        with self._operation:
            self._source = None
            if self._open:  # the card is closed even if a sound still plays: the promise of `stop`
                self._open = False
                self.device.stop()
            self._settle()

    def _settle(self) -> None:
        """Keeps the card open while a call or a sound needs it. With the lock."""
        needed = self._source is not None or self._at < len(self._sound)
        if needed and not self._open:
            self.device.start(self._pull)
            self._open = True
        elif not needed and self._open:
            self._open = False
            self.device.stop()

    def _play_out(self) -> None:
        try:
            with self._operation:
                self._settle()
            self._finished.wait(MAX_SOUND_S)
            with self._operation:
                if self._finished.is_set() or self._at >= len(self._sound):
                    self._sound = b""
                self._settle()
        except UTDStreamException as error:
            self.last_error = error
            self._sound = b""
            _log.warning("a sound could not be played: %s", error)

    def _pull(self, samples: int) -> bytes:
        size = samples * self.format.channels * 2
        source = self._source
        call = bytes(size) if source is None else source(samples)
        sound = self._sound
        piece = sound[self._at : self._at + size]
        if not piece:
            self._finished.set()
            return call
        self._at += len(piece)
        from device.audio import pcm  # loaded since `load`: 3 us

        return pcm.mix(call, piece)
