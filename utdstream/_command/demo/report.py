"""The demo's report: what the two sides recorded, as figures and bars.

Owns: the fields of `report.json`, and the recording that is kept. Main thread; reads and writes files.
"""

from __future__ import annotations

import os
import platform
import wave
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from utdstream import __version__
from utdstream._command import doctor
from utdstream._command.demo import door, house, measure
from utdstream._command.demo.child import Event


def judged(
    at_door: Event, at_house: Event, *, seconds: float, out: Path, scratch: Path, errors: Sequence[str]
) -> tuple[dict[str, object], list[measure.Bar]]:
    """Returns the report of two results, and its bars; writes `door-hears.wav` into `out`.

    `scratch` has what both sides recorded; `errors` is what the SDK reported in the background.
    """
    until, accepted_at = _moment(at_door["hung_up_at"]), _moment(at_house["accepted_at"])
    house_hears = _heard(scratch / "house.pcm", at_house, until)
    door_hears = _heard(scratch / "door.pcm", at_door, until)
    _write_wav(out / "door-hears.wav", door_hears.samples)
    rows = at_house["pictures"]
    assert isinstance(rows, list)
    last_sent = at_door["last_sent"]
    seen = measure.seen(
        [measure.Picture(*row) for row in rows],
        last_sent=last_sent if isinstance(last_sent, int) else None,
        until=until,
    )
    threads = {"door": at_door["threads"], "house": at_house["threads"]}
    report: dict[str, object] = {
        "seconds": seconds,
        "press_to_ring_ms": _ms(_moment(at_house["rung_at"]) - _moment(at_door["pressed_at"])),
        "accept_to_first_audio_ms": {
            "house_hears": _ms_since(accepted_at, at_house["first_sound_at"]),
            "door_hears": _ms_since(accepted_at, at_door["first_sound_at"]),
        },
        "first_video_ms": _ms_since(accepted_at, seen.first_at),
        "video_frames_sent": seen.sent,
        "video_frames_received": seen.received,
        "video_frames_unreadable": seen.unreadable,
        "video_fps": round(seen.frames_per_second, 2),
        "video_size": list(seen.size) if seen.size is not None else None,
        "video_sizes": seen.sizes,
        "longest_video_freeze_ms": round(seen.longest_freeze_ms, 1),
        "tone_hz": {
            "house_hears": {"sent": door.TONE_HZ, "heard": _rounded(house_hears.tone_hz)},
            "door_hears": {"sent": house.TONE_HZ, "heard": _rounded(door_hears.tone_hz)},
        },
        "longest_audio_gap_ms": {
            "house_hears": house_hears.longest_gap_ms,
            "door_hears": door_hears.longest_gap_ms,
        },
        "door_statuses": at_door["statuses"],
        "house_statuses": at_house["statuses"],
        "threads_after": max(len(names) for names in threads.values() if isinstance(names, list)),
        "threads_after_names": threads,
        "background_errors": list(errors),
        "versions": _versions(),
    }
    bars = measure.bars(report, size=door.SIZE)
    has_picture = (out / "house-sees.png").is_file()
    bars.append(measure.Bar("a picture is kept", "yes" if has_picture else "no", "yes", has_picture))
    report["ok"] = all(bar.ok for bar in bars)
    report["failed"] = [f"{bar.name}: {bar.measured}, not {bar.wanted}" for bar in bars if not bar.ok]
    return report, bars


def _heard(recording: Path, result: Mapping[str, object], until: float) -> measure.Heard:
    return measure.heard(
        recording.read_bytes(),
        begun_at=_optional(result["begun_at"]),
        first_sound_at=_optional(result["first_sound_at"]),
        until=until,
    )


def _write_wav(path: Path, samples: measure.Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(measure.RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def _versions() -> dict[str, str]:
    """Lists the versions of everything that took part."""
    found = {check.name: check.found.partition(" ")[0] for check in doctor.examine()}
    return {
        "utdstream": __version__,
        "livekit": metadata.version("livekit"),
        "livekit-server": found["livekit-server"],
        "mosquitto": found["mosquitto"],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def _moment(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def _optional(value: object) -> float | None:
    return None if value is None else _moment(value)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _ms_since(earlier: float, later: object) -> float | None:
    return None if later is None else _ms(_moment(later) - earlier)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
