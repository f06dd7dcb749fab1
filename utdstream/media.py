"""Media ports: what a microphone, a speaker and a camera are to the SDK, and the frames they exchange.

Owns: formats, frames, the three ports, `Devices`. Imports the standard library only.
Sound is int16, interleaved, in frames of 10 ms. Times are `time.monotonic_ns() // 1000`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from utdstream.errors import InvalidConfig

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

FRAME_MS = 10
BYTES_PER_SAMPLE = 2

Buffer = bytes | bytearray | memoryview
"""A contiguous run of bytes. The SDK copies what it needs before a sink returns."""


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """Sound as int16: 8,000 to 192,000 Hz in whole 10 ms frames, one or two channels."""

    sample_rate_hz: int
    channels: int = 1

    def __post_init__(self) -> None:
        if not 8_000 <= self.sample_rate_hz <= 192_000 or self.sample_rate_hz % 100:
            raise InvalidConfig(
                "PcmFormat.sample_rate_hz must be 8000 to 192000 and divisible by 100, "
                f"not {self.sample_rate_hz}"
            )
        if self.channels not in (1, 2):
            raise InvalidConfig(f"PcmFormat.channels must be 1 or 2, not {self.channels}")

    @property
    def samples_per_frame(self) -> int:
        """Samples a channel in 10 ms."""
        return self.sample_rate_hz * FRAME_MS // 1000

    @property
    def frame_bytes(self) -> int:
        """Bytes in 10 ms, all channels."""
        return self.samples_per_frame * self.channels * BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True)
class PcmFrame:
    """10 ms of sound."""

    data: Buffer = field(repr=False)
    sample_rate_hz: int
    channels: int
    captured_at_us: int


class PixelFormat(Enum):
    """Pixel layouts, tightly packed. I420 and NV12 need even sizes."""

    I420 = "i420"
    NV12 = "nv12"
    RGB24 = "rgb24"
    RGBA = "rgba"
    BGRA = "bgra"

    @property
    def is_planar(self) -> bool:
        """Whether brightness and colours are in planes of their own (I420, NV12)."""
        return self in (PixelFormat.I420, PixelFormat.NV12)

    def size_bytes(self, width: int, height: int) -> int:
        """Bytes of one tightly packed picture."""
        if self.is_planar:
            return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
        return width * height * (3 if self is PixelFormat.RGB24 else 4)


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One uncompressed picture. `rotation` (0, 90, 180, 270) is how far to turn it clockwise to show it."""

    data: Buffer = field(repr=False)
    width: int
    height: int
    pixel_format: PixelFormat
    captured_at_us: int
    rotation: int = 0

    def as_array(self) -> NDArray[numpy.uint8]:
        """Returns the picture as numpy sees it: a view of `data`, without a copy, that cannot be written to.

        Of shape (height, width, 3 or 4) for RGB24, RGBA and BGRA; (height * 3 / 2, width) for I420 and NV12, which
        `cv2.cvtColor(array, cv2.COLOR_YUV2BGR_I420)` takes, and whose first `height` rows are the grey picture. It
        is not turned by `rotation`. Raises: InvalidConfig when `data` has another size, or an I420 or NV12 picture
        an odd one.
        """
        import numpy

        width, height, planar = self.width, self.height, self.pixel_format.is_planar
        expected = self.pixel_format.size_bytes(width, height)
        flat = numpy.frombuffer(self.data, dtype=numpy.uint8)
        if len(flat) != expected or (planar and (width % 2 or height % 2)):
            raise InvalidConfig(
                f"as_array: a {self.pixel_format.value} picture of {width}x{height} is {expected} bytes"
                f"{' and even in both directions' if planar else ''}; this one has {len(flat)}"
            )
        array = flat.reshape((height * 3 // 2, width) if planar else (height, width, -1))
        array.flags.writeable = False
        return array


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One H.264 access unit in Annex B form; no B-frames.

    `is_key_frame` is a claim: the SDK looks at the NAL units itself.
    """

    data: Buffer = field(repr=False)
    width: int
    height: int
    codec: str
    is_key_frame: bool
    captured_at_us: int


@runtime_checkable
class Microphone(Protocol):
    """A source of sound. `start` and `stop` may block; they are called one at a time."""

    @property
    def format(self) -> PcmFormat: ...

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        """Begins to call `sink` every 10 ms on the device's own thread.

        The sink never blocks, never raises, and has copied the buffer when it returns.
        """
        ...

    def stop(self) -> None:
        """No call of the sink begins after this returns. Idempotent."""
        ...


@runtime_checkable
class Speaker(Protocol):
    """A place where sound goes. `start` and `stop` may block; they are called one at a time."""

    @property
    def format(self) -> PcmFormat: ...

    def start(self, source: Callable[[int], bytes]) -> None:
        """Begins to pull: `source(n)` answers at once with n samples a channel, silence when empty."""
        ...

    def stop(self) -> None:
        """No call of the source begins after this returns. Idempotent."""
        ...


@runtime_checkable
class Camera(Protocol):
    """A source of pictures, raw or as H.264 (`encoded`). `start` and `stop` may block."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def frames_per_second(self) -> int: ...

    @property
    def encoded(self) -> bool: ...

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        """Begins to call `sink` on the device's own thread; the sink never blocks and never raises."""
        ...

    def stop(self) -> None:
        """No call of the sink begins after this returns. Idempotent."""
        ...

    def request_key_frame(self) -> None:
        """Makes the next access unit an IDR (encoded cameras; others ignore it). Any thread, no wait."""
        ...

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aims for this bitrate from now on (encoded cameras; others ignore it). Any thread, no wait."""
        ...


@runtime_checkable
class WatchedCamera(Camera, Protocol):
    """An encoded camera that may rest while it has no viewer. Any other camera is fed and encoded all the time."""

    def set_watched(self, watched: bool) -> None:
        """False: stop encoding, no access units need come. True: begin again with a key frame.

        Any thread, no wait. Called only when it changes; a camera begins watched at each `start`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Devices:
    """What a client or a session may use; None means there is none of that kind.

    One device object may serve several sessions, each as if it were its own: the first user opens it, the last
    closes it, capture fans out, playback mixes, and what is asked of a camera suits them all. One that raises or
    hangs is left out and reported; the sessions go on without it.
    """

    microphone: Microphone | None = None
    speaker: Speaker | None = None
    camera: Camera | None = None
