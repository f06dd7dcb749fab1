"""Media without hardware: a tone, a file, a moving picture, a recorder. Standard library only.

Owns: devices for tests, demonstrations and machines without a sound card. Each implements a port of
`utdstream.media` and runs one daemon thread (`utd-mic`, `utd-speaker`, `utd-camera`) from `start` to `stop`.

1. The n-th frame is due at the start plus n times its length on the monotonic clock: no drift. After a stall
   a few frames are caught up at once; what is older is skipped and counted (`frames_skipped`).
2. What can be computed once is: a frame costs microseconds.
3. `start` twice is a DeviceError; `stop` is idempotent and may be called from any thread, also the sink's.

What they do not show: a clock of their own that drifts against the computer's, opening that fails or takes
seconds, unplugging, gain, echo, noise, motion blur, an exposure that changes.
"""

from __future__ import annotations

import array
import logging
import math
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from utdstream._picture_counter import paint, read
from utdstream.errors import DeviceError, InvalidConfig
from utdstream.media import FRAME_MS, EncodedFrame, PcmFormat, PcmFrame, PixelFormat, RawFrame

_CATCH_UP_FRAMES = 5
_JOIN_S = 2.0

_log = logging.getLogger(__name__)


def read_counter(frame: RawFrame) -> int | None:
    """Returns the frame number that `PatternCamera` painted, None when the picture holds none that is readable."""
    return read(frame)


class _Pacer:
    """One daemon thread that calls `tick(n)` when frame n is due."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self.skipped = 0
        self.errors = 0

    def start(self, period_s: float, tick: Callable[[int], None]) -> None:
        with self._lock:
            if self._stop is not None:
                raise DeviceError(f"{self._name}: it is started already; stop it first")
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(period_s, tick, self._stop), name=self._name, daemon=True
            )
            self._thread.start()

    @property
    def started(self) -> bool:
        return self._stop is not None

    def stop(self) -> None:
        with self._lock:
            stop, thread = self._stop, self._thread
            self._stop = self._thread = None
        if stop is None or thread is None:
            return
        stop.set()
        if thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _run(self, period_s: float, tick: Callable[[int], None], stop: threading.Event) -> None:
        begun = time.monotonic()
        frame = 0
        while not stop.is_set():
            late_s = time.monotonic() - (begun + frame * period_s)
            if late_s < 0:
                stop.wait(-late_s)
                continue
            too_late = int(late_s / period_s) - _CATCH_UP_FRAMES
            if too_late > 0:
                self.skipped += too_late
                frame += too_late
            try:
                tick(frame)
            except Exception:  # noqa: BLE001 - the thread's outermost frame; a sink that raises breaks its promise
                self.errors += 1
                if self.errors == 1:
                    _log.exception("%s: what takes the frames raised; it is survived and counted", self._name)
            frame += 1


class _Device:
    """What the devices here share."""

    _thread_name = "utd-device"

    def __init__(self) -> None:
        self._pacer = _Pacer(self._thread_name)

    @property
    def frames_skipped(self) -> int:
        """Frames that were never due in time because the thread was held up."""
        return self._pacer.skipped

    def stop(self) -> None:
        """No call begins after this returns, unless one hangs longer than two seconds. Idempotent."""
        self._pacer.stop()


class ToneMicrophone(_Device):
    """A sine of `frequency_hz` (rounded to whole hertz) at `level` of full scale, on all channels."""

    _thread_name = "utd-mic"

    def __init__(
        self,
        frequency_hz: float = 1000.0,
        *,
        sample_rate_hz: int = 48_000,
        channels: int = 1,
        level: float = 0.3,
    ) -> None:
        super().__init__()
        self.format = PcmFormat(sample_rate_hz, channels)
        if not 0 < frequency_hz < sample_rate_hz / 2:
            raise InvalidConfig(
                f"ToneMicrophone: frequency_hz must be below {sample_rate_hz / 2:g}, not {frequency_hz!r}"
            )
        if not 0 <= level <= 1:
            raise InvalidConfig(f"ToneMicrophone: level must be 0 to 1, not {level!r}")
        self.frames_sent = 0
        self._frames = _tone_frames(max(1, round(frequency_hz)), self.format, level)

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        """Begins to call `sink` every 10 ms. Raises: DeviceError when started."""
        frames, rate, channels = self._frames, self.format.sample_rate_hz, self.format.channels

        def tick(number: int) -> None:
            sink(PcmFrame(frames[number % len(frames)], rate, channels, time.monotonic_ns() // 1000))
            self.frames_sent += 1

        self._pacer.start(FRAME_MS / 1000, tick)


class FileMicrophone(_Device):
    """Plays a 16-bit WAV file of 8,000 to 192,000 Hz, one or two channels; then silence, or from the start.

    The file is read when the object is made. Raises: DeviceError when it cannot be used.
    """

    _thread_name = "utd-mic"

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        super().__init__()
        self.format, pcm = _read_wav(Path(path))
        size = self.format.frame_bytes
        pcm += bytes(-len(pcm) % size)
        self._frames = [pcm[start : start + size] for start in range(0, len(pcm), size)]
        self._loop = loop
        self.frames_sent = 0
        self.finished = threading.Event()
        """Set when the last frame of the file has been given away (never with `loop`)."""

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        """Begins at the beginning of the file, every 10 ms. Raises: DeviceError when started."""
        frames, rate, channels = self._frames, self.format.sample_rate_hz, self.format.channels
        silence = bytes(self.format.frame_bytes)
        self.finished.clear()

        def tick(number: int) -> None:
            inside = number < len(frames)
            pcm = frames[number % len(frames)] if inside or self._loop else silence
            sink(PcmFrame(pcm, rate, channels, time.monotonic_ns() // 1000))
            self.frames_sent += 1
            if not self._loop and number + 1 >= len(frames):
                self.finished.set()

        self._pacer.start(FRAME_MS / 1000, tick)


class NullSpeaker(_Device):
    """Pulls sound in real time and forgets it."""

    _thread_name = "utd-speaker"

    def __init__(self, *, sample_rate_hz: int = 48_000, channels: int = 1) -> None:
        super().__init__()
        self.format = PcmFormat(sample_rate_hz, channels)
        self.frames_played = 0

    def start(self, source: Callable[[int], bytes]) -> None:
        """Begins to pull 10 ms every 10 ms. Raises: DeviceError when started."""
        samples = self.format.samples_per_frame

        def tick(_number: int) -> None:
            self._play(source(samples))
            self.frames_played += 1

        self._pacer.start(FRAME_MS / 1000, tick)

    def _play(self, pcm: bytes) -> None:
        """Hears 10 ms."""


class RecordingSpeaker(NullSpeaker):
    """Pulls sound in real time and keeps it: the newest `keep_s` seconds in memory, all of it in a WAV file.

    The file's header is right after every second and at `stop`; a second `start` begins the file anew.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        sample_rate_hz: int = 48_000,
        channels: int = 1,
        keep_s: float = 120.0,
    ) -> None:
        super().__init__(sample_rate_hz=sample_rate_hz, channels=channels)
        self._path = None if path is None else Path(path)
        self._keep_bytes = max(1, math.ceil(keep_s * 1000 / FRAME_MS)) * self.format.frame_bytes
        self._file_lock = threading.Lock()
        self._pcm = bytearray()
        self._stream: BinaryIO | None = None
        self._wav: wave.Wave_write | None = None
        self._unwritten = bytearray()

    @property
    def pcm(self) -> bytes:
        """The newest sound: int16, interleaved."""
        with self._file_lock:
            return bytes(self._pcm[-self._keep_bytes :])

    def start(self, source: Callable[[int], bytes]) -> None:
        """Begins to record. Raises: DeviceError when started, or when the file cannot be written."""
        if self._path is not None and not self._pacer.started:
            self._open(self._path)
        super().start(source)

    def _open(self, path: Path) -> None:
        try:
            stream = path.open("wb")
        except OSError as error:
            raise DeviceError(f"RecordingSpeaker: {path} cannot be written: {error.strerror}") from error
        wav = wave.open(stream, "wb")  # noqa: SIM115 - closed by stop()
        wav.setnchannels(self.format.channels)
        wav.setsampwidth(2)
        wav.setframerate(self.format.sample_rate_hz)
        with self._file_lock:
            self._stream, self._wav = stream, wav
            self._unwritten.clear()
            self._write_out(stream, wav)

    def stop(self) -> None:
        """Ends the recording and closes the file. Idempotent."""
        super().stop()
        with self._file_lock:
            stream, wav = self._stream, self._wav
            self._stream = self._wav = None
            if stream is not None and wav is not None:
                self._write_out(stream, wav)
                wav.close()
                stream.close()

    def _play(self, pcm: bytes) -> None:
        with self._file_lock:
            self._pcm += pcm
            if len(self._pcm) > 2 * self._keep_bytes:
                del self._pcm[: -self._keep_bytes]
            if self._stream is not None and self._wav is not None:
                self._unwritten += pcm
                if len(self._unwritten) >= 100 * self.format.frame_bytes:
                    self._write_out(self._stream, self._wav)

    def _write_out(self, stream: BinaryIO, wav: wave.Wave_write) -> None:
        wav.writeframes(bytes(self._unwritten))  # corrects the length in the header too
        self._unwritten.clear()
        stream.flush()


class PatternCamera(_Device):
    """A moving test picture, raw I420, with its frame number painted in (`read_counter`).

    Not encoded: `request_key_frame` and `set_bitrate` do nothing. Not simulated: noise, exposure, motion
    blur; the picture is easy to compress.
    """

    _thread_name = "utd-camera"
    encoded = False

    def __init__(self, width: int = 640, height: int = 480, frames_per_second: int = 30) -> None:
        super().__init__()
        if width < 64 or height < 64 or width % 2 or height % 2 or width > 4096 or height > 4096:
            raise InvalidConfig(
                f"PatternCamera: width and height must be even, 64 to 4096, not {width} x {height}"
            )
        if not 1 <= frames_per_second <= 120:
            raise InvalidConfig(
                f"PatternCamera: frames_per_second must be 1 to 120, not {frames_per_second!r}"
            )
        self.width = width
        self.height = height
        self.frames_per_second = frames_per_second
        self.frames_sent = 0
        self._background = _background(width, height)
        self._bar = b"\xc8" * max(2, width // 16)

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        """Begins to call `sink` at the frame rate; the buffer is the sink's to keep. Raises: DeviceError."""

        def tick(number: int) -> None:
            sink(self.picture(number))
            self.frames_sent += 1

        self._pacer.start(1 / self.frames_per_second, tick)

    def picture(self, number: int) -> RawFrame:
        """Returns the picture with this frame number."""
        pixels = bytearray(self._background)
        width, height = self.width, self.height
        paint(pixels, width, height, number)
        left = number * 4 % (width - len(self._bar))
        for line in range(height // 2, height // 2 + height // 8):
            start = line * width + left
            pixels[start : start + len(self._bar)] = self._bar
        return RawFrame(pixels, width, height, PixelFormat.I420, time.monotonic_ns() // 1000)

    def request_key_frame(self) -> None:
        """Nothing: raw pictures have none."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Nothing: raw pictures have none."""


def _tone_frames(frequency_hz: int, format_: PcmFormat, level: float) -> list[bytes]:
    rate = format_.sample_rate_hz
    step = 2 * math.pi * frequency_hz / rate
    # The shortest time after which whole waves are whole frames: at most a second.
    samples = rate // math.gcd(rate, frequency_hz)
    frames = math.lcm(samples, format_.samples_per_frame) // format_.samples_per_frame
    one = array.array(
        "h",
        (
            round(32_767 * level * math.sin(step * index))
            for index in range(frames * format_.samples_per_frame)
        ),
    )
    if format_.channels == 2:
        both = array.array("h", bytes(4 * len(one)))
        both[0::2] = one
        both[1::2] = one
        one = both
    if sys.byteorder == "big":
        one.byteswap()
    pcm, size = one.tobytes(), format_.frame_bytes
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def _read_wav(path: Path) -> tuple[PcmFormat, bytes]:
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            pcm = file.readframes(file.getnframes())
    except OSError as error:
        raise DeviceError(f"FileMicrophone: {path} cannot be read: {error.strerror}") from error
    except (wave.Error, EOFError) as error:
        raise DeviceError(f"FileMicrophone: {path} is not a PCM WAV file: {error}") from error
    if width != 2:
        raise DeviceError(f"FileMicrophone: {path} has {8 * width} bits a sample; convert it to 16 bits")
    if not pcm:
        raise DeviceError(f"FileMicrophone: {path} holds no sound")
    try:
        return PcmFormat(rate, channels), pcm
    except InvalidConfig as error:
        raise DeviceError(f"FileMicrophone: {path} cannot be used: {error}") from error


def _background(width: int, height: int) -> bytes:
    """Returns grey steps below the counter, colours that change over the width."""
    luma = bytes(60 + (column * 8 // width) * 16 for column in range(width)) * height
    half = width // 2
    blue = bytes(96 + column * 64 // half for column in range(half)) * (height // 2)
    red = bytes(160 - column * 64 // half for column in range(half)) * (height // 2)
    return luma + blue + red
