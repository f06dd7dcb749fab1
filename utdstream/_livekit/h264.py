"""The gate between a camera's H.264 and the core: what may be sent, and what it needs in front.

Owns: `H264Gate`, `nal_units`. Pure: no I/O, no clock, no `livekit`. Thread: the camera's, but for `restart`.

The core sends access units as they are given: it keeps no parameter sets, and it does not notice that one is
missing (livekit 1.2.1). So:

1. The first unit is a key frame, and so is the first after every unit that was dropped: without it the picture is
   spoilt for seconds, and nothing says so.
2. Every key frame has its parameter sets (SPS, PPS) in front; those seen last are added when the camera left
   them out. A key frame before any were seen is dropped: nobody could decode it.
3. Whether a unit is a key frame is read from its bytes (an IDR, NAL type 5), not taken from the camera's word.
4. A size that differs from the promised one never passes: the core cannot change it while a track is published.
"""

from __future__ import annotations

from dataclasses import dataclass

from utdstream.errors import InvalidConfig
from utdstream.media import EncodedFrame

IDR, SPS, PPS = 5, 7, 8
"""NAL unit types of ITU-T H.264, table 7-1."""


@dataclass(slots=True)
class Passage:
    """What becomes of one access unit."""

    data: bytes | None
    """What to send, parameter sets included; None when the unit is dropped (and counted)."""
    is_key: bool
    wants_key_frame: bool = False
    """The camera must be asked for a key frame now."""


class H264Gate:
    """Decides about each access unit of one camera of `width` x `height` pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._needs_key = True
        self._parameter_sets: dict[int, bytes] = {}
        self.dropped = 0
        """Units that did not pass, and those that the core refused afterwards."""

    def restart(self) -> None:
        """Lets a key frame pass next. Any thread; a unit under way at that moment may still pass."""
        self._needs_key = True

    def admit(self, frame: EncodedFrame, *, is_open: bool) -> Passage:
        """Decides about `frame`, the next access unit. While `is_open` is false (muted) all are dropped.

        Raises: InvalidConfig, TypeError when it must not reach the core; that one is not counted here.
        """
        try:
            data, units = self._read(frame)
        except Exception:
            self._needs_key = True
            raise
        kinds = {kind for kind, _, _ in units}
        for kind, start, end in units:
            if kind in (SPS, PPS):
                self._parameter_sets[kind] = data[start:end]
        is_key = IDR in kinds
        if not is_open:
            return self._drop(is_key=is_key)
        if self._needs_key and not is_key:
            return self._drop(is_key=False, wants_key_frame=True)
        if is_key and not {SPS, PPS} <= kinds:
            if not {SPS, PPS} <= self._parameter_sets.keys():
                return self._drop(is_key=True)  # the next one may bring them; this encoder makes no others
            data = self._parameter_sets[SPS] + self._parameter_sets[PPS] + data
        self._needs_key = False
        return Passage(data, is_key)

    def refused(self) -> None:
        """Takes back the unit that passed last and that the core refused: dropped, and a key frame is needed."""
        self._drop(is_key=False)

    def _drop(self, *, is_key: bool, wants_key_frame: bool = False) -> Passage:
        self.dropped += 1
        self._needs_key = True
        return Passage(None, is_key, wants_key_frame)

    def _read(self, frame: EncodedFrame) -> tuple[bytes, list[tuple[int, int, int]]]:
        if frame.codec.lower() != "h264":
            raise InvalidConfig(f"encoded frames must be h264, not {frame.codec!r}")
        if (frame.width, frame.height) != (self._width, self._height):
            raise InvalidConfig(
                f"the camera delivered an access unit of {frame.width}x{frame.height}; it promises "
                f"{self._width}x{self._height}, and the size must not change"
            )
        data = bytes(frame.data)
        units = nal_units(data)
        if not units:
            raise InvalidConfig("the camera delivered an access unit without an Annex B start code")
        return data, units


def nal_units(data: bytes) -> list[tuple[int, int, int]]:
    """Finds `(NAL type, start, end)` of each unit of an Annex B access unit; the start code is part of it."""
    starts: list[tuple[int, int]] = []
    at = data.find(b"\x00\x00\x01")
    while at != -1:
        begin = at - 1 if at > 0 and data[at - 1] == 0 else at
        starts.append((begin, at + 3))
        at = data.find(b"\x00\x00\x01", at + 3)
    units = []
    for index, (begin, body) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else len(data)
        if body < len(data):
            units.append((data[body] & 0x1F, begin, end))
    return units
