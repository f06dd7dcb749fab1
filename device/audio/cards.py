"""The sound cards of this machine through PyAudio: their names, and streams that stay alive.

Owns: PortAudio (one reference), every open stream, the one thread that opens, watches and closes them
(`utd-cards`). The card's own thread calls a stream's callback. PyAudio is
imported when the first card is asked for.

1. Only `utd-cards` opens and closes: closing a stream under a thread that uses it crashes the interpreter.
2. PortAudio tells nothing when a card is pulled out or hangs: callbacks just stop, and `is_active()` may
   go on saying True. So the time of the last callback is what is watched (PyAudio 0.2.14, seen with a killed
   and a suspended sound server).
3. PortAudio reads its list of devices once. When the system's list changed, or no stream is well, all are
   closed and PortAudio is started anew; a stream that is well is not interrupted for another's sake.
4. A card is known by its name without the numbers ALSA gives anew at each plug-in.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.errors import AudioFailed, DeviceNotFound, PackageMissing
from utdstream import DeviceError
from utdstream.backoff import Backoff
from utdstream.media import PcmFormat

_log = logging.getLogger(__name__)

RATES_HZ = (48_000, 44_100, 16_000)
SILENT_S = 0.5
"""No callback for this long: the stream is dead (a frame is 10 ms; a busy machine delays some)."""
WATCH_S = 0.1
RETRY = Backoff(first_s=0.1, most_s=1.0)
FIRST_OPEN_S = 3.0
CLOSE_S = 2.0
_CARDS = Path("/proc/asound/cards")
_NUMBERS = re.compile(r"\s*\(hw:\d+,\d+\)$")
_stderr_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """One entry of PortAudio's list; `index` is true only until the list is read again."""

    name: str
    index: int
    inputs: int
    outputs: int
    default_input: bool
    default_output: bool
    default_rate_hz: int


def import_pyaudio() -> Any:
    """The driver's module. Raises: PackageMissing."""
    try:
        import pyaudio
    except ImportError as error:
        raise PackageMissing(
            "sound needs PyAudio, which is not installed here: `sudo apt install python3-pyaudio`, or "
            "`sudo apt install portaudio19-dev gcc` and `pip install utdstream[audio]`"
        ) from error
    return pyaudio


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps what ALSA and JACK print on file descriptor 2 to themselves; the list holds it afterwards."""
    said: list[str] = []
    with _stderr_lock, tempfile.TemporaryFile() as heard:
        kept = os.dup(2)
        try:
            os.dup2(heard.fileno(), 2)
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            said += heard.read().decode(errors="replace").splitlines()


def real_error(said: list[str]) -> str:
    """The last thing ALSA complained about, without its file and line; empty when it did not."""
    for line in reversed(said):
        found = re.match(r"ALSA lib \S+:\(\S+\) (.+)", line)
        if found:
            return found[1].strip()
    return ""


def list_devices() -> list[SoundDevice]:
    """Every sound device there is now, by its stable name. Blocks: some 100 ms. Raises: PackageMissing."""
    with open_portaudio() as audio:
        return devices_of(audio)


def devices_of(audio: Any) -> list[SoundDevice]:
    """The list that this PortAudio read when it started."""
    defaults = []
    for ask in (audio.get_default_input_device_info, audio.get_default_output_device_info):
        try:
            defaults.append(int(ask()["index"]))
        except OSError:
            defaults.append(-1)
    found = []
    for index in range(audio.get_device_count()):
        entry = audio.get_device_info_by_index(index)
        found.append(
            SoundDevice(
                name=_NUMBERS.sub("", str(entry["name"])),
                index=index,
                inputs=int(entry["maxInputChannels"]),
                outputs=int(entry["maxOutputChannels"]),
                default_input=index == defaults[0],
                default_output=index == defaults[1],
                default_rate_hz=int(entry["defaultSampleRate"]),
            )
        )
    return found


def choose(devices: list[SoundDevice], name: str, *, capture: bool) -> SoundDevice:
    """The device of this name and direction; `default` is the system's. Raises: DeviceNotFound."""
    able = [device for device in devices if (device.inputs if capture else device.outputs) > 0]
    what = "microphone" if capture else "speaker"
    if name == "default":
        chosen = [device for device in able if (device.default_input if capture else device.default_output)]
        named = [device for device in able if device.name == "default"]
        if chosen or named:
            return (chosen or named)[0]
        raise DeviceNotFound(
            f"there is no {what}: this machine has no sound card that can be one; plug one in"
        )
    exact = [device for device in able if device.name == name]
    similar = exact or [device for device in able if name.lower() in device.name.lower()]
    if len(similar) == 1 or exact:
        return similar[0]
    there = ", ".join(f'"{device.name}"' for device in able) or "none"
    reason = "more than one fits" if similar else "there is none"
    raise DeviceNotFound(f'{what} "{name}": {reason}; those there are: {there}')


@contextlib.contextmanager
def open_portaudio() -> Iterator[Any]:
    """PortAudio for one look."""
    pyaudio = import_pyaudio()
    with quiet():
        audio = pyaudio.PyAudio()
    try:
        yield audio
    finally:
        audio.terminate()


def offered_rate(name: str, *, capture: bool, channels: int = 1) -> int:
    """The first of 48, 44.1 and 16 kHz that the card offers. Raises: DeviceNotFound, AudioFailed."""
    pyaudio = import_pyaudio()
    with open_portaudio() as audio:
        device = choose(devices_of(audio), name, capture=capture)
        side = "input" if capture else "output"
        for rate in RATES_HZ:
            asked = {f"{side}_device": device.index, f"{side}_channels": channels}
            with contextlib.suppress(ValueError), quiet():
                if audio.is_format_supported(rate, **asked, **{f"{side}_format": pyaudio.paInt16}):
                    return rate
    raise AudioFailed(f'"{device.name}" offers none of {", ".join(map(str, RATES_HZ))} Hz with int16')


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
        """The card's thread: an exception here would end the stream without a word."""
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
        self._commands: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
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
            except queue.Empty:
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
        """A card came or went since PortAudio looked; or nothing works, so nothing is lost by looking."""
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
    """What the kernel says of its sound cards; changes when one is plugged in or out."""
    try:
        return _CARDS.read_text(encoding="utf-8")
    except OSError:
        return ""


_cards = Cards()


def cards() -> Cards:
    """The owner of all streams of this process."""
    return _cards
