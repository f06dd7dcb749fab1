"""H.264 as cameras deliver it. Owns: `nal_units`. Any thread, no I/O, no `livekit`."""

from __future__ import annotations


def nal_units(data: bytes) -> list[tuple[int, int, int]]:
    """`(nal type, start, end)` of each unit of an Annex B access unit; start includes the start code."""
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
