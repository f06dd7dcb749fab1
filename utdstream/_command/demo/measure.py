"""What two recordings and a list of pictures say about a call.

Owns: every figure of the report, and the bars it is held to. No I/O, no SDK, no threads: numbers in,
numbers out. Times are seconds of `time.monotonic`, which all processes of one Linux machine share.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

RATE_HZ = 48_000
WINDOW_MS = 5
SETTLING_S = 1.0
"""Gaps in the first second of sound are not held against a call: jitter buffers are still filling."""
QUIET = 0.25
"""A window is silent below this part of the usual loudness."""

Samples = NDArray[numpy.int16]

PRESS_TO_RING_MS = 100.0
TONE_TOLERANCE_HZ = 5.0
FRAMES_RECEIVED = 0.9
FRAMES_PER_SECOND = 15.0
GAP_MS = 100.0
DOOR_STATUSES = ("initiating", "ringing", "active", "ended")
HOUSE_STATUSES = ("ringing", "active", "ended")


def tone_hz(samples: Samples) -> float | None:
    """Finds the strongest tone, to a fraction of a hertz; None when there is no sound."""
    if len(samples) < 64 or not samples.any():
        return None
    spectrum = numpy.abs(numpy.fft.rfft(samples * numpy.hanning(len(samples))))
    spectrum[0] = 0.0
    peak = int(spectrum.argmax())
    place = float(peak)
    if 0 < peak < len(spectrum) - 1:
        # A parabola through the logarithms of three neighbours finds the top between two bins.
        left, top, right = numpy.log(spectrum[peak - 1 : peak + 2] + 1e-9)
        bend = left - 2 * top + right
        if bend < 0:
            place += 0.5 * (left - right) / bend
    return float(place * RATE_HZ / len(samples))


def longest_gap_ms(samples: Samples) -> float:
    """Measures the longest silence, by the usual loudness of these samples; all of it when silent."""
    size = RATE_HZ * WINDOW_MS // 1000
    windows = len(samples) // size
    if windows == 0:
        return 0.0
    cut = samples[: windows * size].astype(numpy.float64).reshape(windows, size)
    loudness = numpy.sqrt((cut * cut).mean(axis=1))
    usual = float(numpy.percentile(loudness, 90))
    quiet = loudness < QUIET * usual if usual > 0 else numpy.ones(windows, dtype=bool)
    longest = run = 0
    for is_quiet in quiet:
        run = run + 1 if is_quiet else 0
        longest = max(longest, run)
    return float(longest * WINDOW_MS)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one side heard, from its first sound to the hang-up."""

    samples: Samples
    """All of it."""
    tone_hz: float | None
    """After the first second."""
    longest_gap_ms: float | None
    """After the first second; None when there was no sound that long."""


def heard(pcm: bytes, *, begun_at: float | None, first_sound_at: float | None, until: float) -> Heard:
    """Judges one recording (int16 mono) that began at `begun_at`, up to the hang-up at `until`."""
    samples = numpy.frombuffer(pcm, numpy.int16)
    if begun_at is None or first_sound_at is None:
        return Heard(samples[:0], None, None)
    first = max(0, int((first_sound_at - begun_at) * RATE_HZ))
    last = max(first, int((until - begun_at) * RATE_HZ))
    # A recording that stops before the hang-up went on as silence.
    missing = min(last - len(samples), RATE_HZ * 600)
    if missing > 0:
        samples = numpy.concatenate((samples, numpy.zeros(missing, numpy.int16)))
    call = samples[first:last]
    settled = call[int(SETTLING_S * RATE_HZ) :]
    gap = longest_gap_ms(settled) if len(settled) else None
    return Heard(call, tone_hz(settled), gap)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that was received; `counter` None: the painted number could not be read."""

    at: float
    counter: int | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a counting camera, from the first picture to the hang-up."""

    sent: int
    received: int
    unreadable: int
    frames_per_second: float
    size: tuple[int, int] | None
    """The size of most pictures."""
    sizes: dict[str, int]
    first_at: float | None
    longest_freeze_ms: float


def seen(pictures: Sequence[Picture], *, last_sent: int | None, until: float) -> Seen:
    """Counts pictures by the number painted into each; `last_sent` is the camera's at the hang-up.

    `sent` is counted by the camera, not by what came: pictures that stop coming are missed until the end.
    """
    in_time = [picture for picture in pictures if picture.at <= until]
    counters = {picture.counter for picture in in_time if picture.counter is not None}
    readable = [picture for picture in in_time if picture.counter is not None]
    sizes = Counter((picture.width, picture.height) for picture in in_time)
    first_at = in_time[0].at if in_time else None
    if not readable or last_sent is None or first_at is None:
        return Seen(0, 0, len(in_time), 0.0, None, {}, first_at, 0.0)
    first = min(counters)
    moments = [picture.at for picture in in_time] + [until]
    freeze = max(later - earlier for earlier, later in itertools.pairwise(moments))
    return Seen(
        sent=max(last_sent, max(counters)) - first + 1,
        received=len(counters),
        unreadable=len(in_time) - len(readable),
        frames_per_second=len(counters) / max(1e-3, until - readable[0].at),
        size=sizes.most_common(1)[0][0],
        sizes={f"{width}x{height}": count for (width, height), count in sizes.items()},
        first_at=first_at,
        longest_freeze_ms=freeze * 1000,
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing the call is held to."""

    name: str
    measured: str
    wanted: str
    ok: bool


def bars(report: Mapping[str, object], *, size: tuple[int, int]) -> list[Bar]:
    """Lists every bar, passed or not, of a finished report."""
    found: list[Bar] = []

    def add(name: str, measured: str, wanted: str, ok: bool) -> None:
        found.append(Bar(name, measured, wanted, ok))

    ring = _number(report["press_to_ring_ms"])
    add(
        "press to ring",
        _ms(ring),
        f"<= {PRESS_TO_RING_MS:g} ms",
        ring is not None and ring <= PRESS_TO_RING_MS,
    )
    first = _table(report["accept_to_first_audio_ms"])
    tones, gaps = _table(report["tone_hz"]), _table(report["longest_audio_gap_ms"])
    for side, words in (("house_hears", "house hears"), ("door_hears", "door hears")):
        moment = _number(first[side])
        add(f"accept to first sound, {words}", _ms(moment), "comes", moment is not None)
        tone = _table(tones[side])
        sent, heard_hz = _number(tone["sent"]), _number(tone["heard"])
        add(
            f"tone, {words}",
            "silence" if heard_hz is None else f"{heard_hz:.1f} Hz",
            f"{sent:g} Hz +- {TONE_TOLERANCE_HZ:g}",
            heard_hz is not None and sent is not None and abs(heard_hz - sent) <= TONE_TOLERANCE_HZ,
        )
        gap = _number(gaps[side])
        add(f"longest gap, {words}", _ms(gap), f"<= {GAP_MS:g} ms", gap is not None and gap <= GAP_MS)
    video = _number(report["first_video_ms"])
    add("accept to first picture", _ms(video), "comes", video is not None)
    sent_frames, received = _number(report["video_frames_sent"]), _number(report["video_frames_received"])
    ratio = received / sent_frames if sent_frames and received is not None else 0.0
    add(
        "pictures received of sent",
        f"{received:g} of {sent_frames:g} ({ratio:.1%})",
        f">= {FRAMES_RECEIVED:.0%}",
        ratio >= FRAMES_RECEIVED,
    )
    fps = _number(report["video_fps"]) or 0.0
    add("pictures a second", f"{fps:.1f}", f">= {FRAMES_PER_SECOND:g}", fps >= FRAMES_PER_SECOND)
    found_size = report["video_size"]
    shown = "none" if not isinstance(found_size, list) else " x ".join(map(str, found_size))
    add("picture size", shown, f"{size[0]} x {size[1]}", found_size == list(size))
    for name, wanted in (("door", DOOR_STATUSES), ("house", HOUSE_STATUSES)):
        statuses = report[f"{name}_statuses"]
        assert isinstance(statuses, list)
        add(f"states of the {name}", " > ".join(statuses), " > ".join(wanted), statuses == list(wanted))
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _table(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} ms"
