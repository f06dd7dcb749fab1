"""The streams of this machine's sound cards, opened anew whenever they die.

Owns: PortAudio's one reference that plays, every open stream, the one thread that opens, watches and closes them
(`utd-cards`). The card's own thread calls a stream's callback. PyAudio is reached late, through `portaudio.py`.

1. Only `utd-cards` opens and closes: closing a stream under a thread that uses it crashes the interpreter.
2. PortAudio tells nothing when a card is pulled out or hangs: callbacks just stop, and `is_active()` may
   go on saying True. So the time of the last callback is what is watched (PyAudio 0.2.14, seen with a killed
   and a suspended sound server).
3. PortAudio reads its list of devices once. When the system's list changed, or no stream is well, all are
   closed and PortAudio is started anew; a stream that is well is not interrupted for another's sake.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty
from typing import Any

from device.audio.portaudio import choose, devices_of, import_pyaudio, quiet, real_error
from device.errors import AudioFailed
from utdstream import DeviceError
from utdstream.backoff import Backoff
from utdstream.mailbox import Mailbox
from utdstream.media import PcmFormat

_log = logging.getLogger(__name__)

SILENT_S = 0.5
"""No callback for this long: the stream is dead (a frame is 10 ms; a busy machine delays some)."""
WATCH_S = 0.1
RETRY = Backoff(first_s=0.1, most_s=1.0)
FIRST_OPEN_S = 3.0
CLOSE_S = 2.0
_CARDS = Path("/proc/asound/cards")


class CardStream:
    """One stream that is opened again whenever it dies; what `utd-cards` looks after."""

    capture = True

    def __init__(self, name: str, audio_format: PcmFormat) -> None:
        self.name = name
        self.format = audio_format
        self.problem: str | None = None
        """What is wrong now, as a sentence; None while it plays or records, and while it is not started."""
        self.opened = 0
        """How often it was opened: more than once means it healed."""
        self.last_callback_s = 0.0
        self.callback_thread = 0
        self._stream: Any = None
        self._failures = 0
        self._retry_at_s = 0.0

    # -- the card's thread

    def callback(self, pcm: bytes | None, frames: int, times: Any, flags: int) -> tuple[bytes | None, int]:
        raise NotImplementedError

    # -- utd-cards

    @property
    def is_well(self) -> bool:
        """Its callbacks come."""
        stream = self._stream
        return (
            stream is not None
            and time.monotonic() - self.last_callback_s < SILENT_S
            and bool(stream.is_active())
        )

    def open(self, audio: Any) -> None:
        """Raises: DeviceError, with ALSA's one real error."""
        pyaudio = import_pyaudio()
        device = choose(devices_of(audio), self.name, capture=self.capture)
        side = "input" if self.capture else "output"
        said: list[str] = []
        try:
            with quiet() as said:
                self._stream = audio.open(
                    rate=self.format.sample_rate_hz,
                    channels=self.format.channels,
                    format=pyaudio.paInt16,
                    frames_per_buffer=self.format.samples_per_frame,
                    stream_callback=self._guarded,
                    **{side: True, f"{side}_device_index": device.index},
                )
        except (OSError, ValueError) as error:
            reason = real_error(said) or str(error)
            raise AudioFailed(
                f'"{device.name}" could not be opened at {self.format.sample_rate_hz} Hz: {reason}; '
                "is it in use elsewhere?"
            ) from error
        self.last_callback_s = time.monotonic()
        self.opened += 1

    def _guarded(self, pcm: bytes | None, frames: int, times: Any, flags: int) -> tuple[bytes | None, int]:
        """Survives the callback, on the card's thread: an exception would end the stream without a word."""
        self.last_callback_s = time.monotonic()
        self.callback_thread = threading.get_ident()
        try:
            return self.callback(pcm, frames, times, flags)
        except Exception:  # noqa: BLE001 - the thread's outermost frame
            _log.exception("the %s's callback raised; it is survived", self.what)
            return (None if self.capture else bytes(frames * self.format.channels * 2)), 0

    @property
    def what(self) -> str:
        return "microphone" if self.capture else "speaker"

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError), quiet():
                stream.close()

    def failed(self, reason: str) -> None:
        """Says so once, and when to try again."""
        pause_s = RETRY.pause_s(self._failures)
        self._failures += 1
        self._retry_at_s = time.monotonic() + pause_s
        if self.problem is None:
            _log.warning("%s: %s; it is opened again as soon as that works", self.what, reason)
        self.problem = reason

    def healed(self) -> None:
        if self.problem is not None:
            _log.info("%s: it works again", self.what)
        self.problem = None
        self._failures = 0

    @property
    def is_due(self) -> bool:
        return self._stream is None and time.monotonic() >= self._retry_at_s


class Cards:
    """The thread that owns all streams of this process; without a stream it sleeps and holds no card."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the start of the thread
        self._commands: Mailbox[tuple[Callable[[], None], Future[None]]] = Mailbox()
        self._thread: threading.Thread | None = None
        self._streams: list[CardStream] = []
        self._audio: Any = None
        self._cards_seen = ""

    def add(self, stream: CardStream) -> None:
        """Opens it now and whenever it dies. Returns after the first try, well or not."""
        import_pyaudio()
        with contextlib.suppress(TimeoutError):
            self._post(lambda: self._add(stream)).result(FIRST_OPEN_S)

    def remove(self, stream: CardStream) -> None:
        """Closes it. From the card's own thread it does not wait."""
        done = self._post(lambda: self._remove(stream))
        if threading.get_ident() == stream.callback_thread or threading.current_thread() is self._thread:
            return
        try:
            done.result(CLOSE_S)
        except TimeoutError:
            _log.warning("the %s did not close within %g s; it is left to its thread", stream.what, CLOSE_S)

    def _post(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="utd-cards", daemon=True)
                self._thread.start()
        self._commands.put((work, done))
        return done

    # -- the thread

    def _run(self) -> None:
        while True:
            try:
                work, done = self._commands.get(timeout=WATCH_S if self._streams else None)
            except Empty:
                self._guarded(self._watch)
                continue
            self._guarded(work)
            done.set_result(None)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the thread's outermost frame
            _log.exception("looking after the sound cards failed; it is tried again")

    def _add(self, stream: CardStream) -> None:
        self._streams.append(stream)
        self._try(stream)

    def _remove(self, stream: CardStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        stream.close()
        stream.problem = None
        if not self._streams:
            self._stop_portaudio()

    def _watch(self) -> None:
        for stream in self._streams:
            if stream._stream is not None:
                if stream.is_well:
                    stream.healed()
                else:
                    stream.close()
                    stream.failed(
                        f'"{stream.name}" stopped: unplugged, suspended or its sound server is gone'
                    )
        for stream in self._streams:
            if stream.is_due:
                self._try(stream)

    def _try(self, stream: CardStream) -> None:
        if self._audio is None or self._list_is_old():
            self._restart_portaudio()
        try:
            stream.open(self._audio)
        except DeviceError as error:
            stream.failed(error.message)

    def _list_is_old(self) -> bool:
        """Tells whether a card came or went since PortAudio looked; or nothing works, so nothing is lost."""
        return cards_now() != self._cards_seen or not any(other.is_well for other in self._streams)

    def _restart_portaudio(self) -> None:
        self._stop_portaudio()
        self._cards_seen = cards_now()
        with quiet():
            self._audio = import_pyaudio().PyAudio()

    def _stop_portaudio(self) -> None:
        for stream in self._streams:
            stream.close()
        audio, self._audio = self._audio, None
        if audio is not None:
            with quiet():
                audio.terminate()


def cards_now() -> str:
    """Returns what the kernel says of its sound cards; changes when one is plugged in or out."""
    try:
        return _CARDS.read_text(encoding="utf-8")
    except OSError:
        return ""


_cards = Cards()


def cards() -> Cards:
    """Returns the owner of all streams of this process."""
    return _cards
