"""What the demo says of tones, gaps and pictures, on signals whose answer is known."""

from __future__ import annotations

import numpy
import pytest

from utdstream._command.demo import measure
from utdstream._command.demo.measure import RATE_HZ, Picture, Samples


def tone(frequency_hz: float, seconds: float, level: float = 0.3) -> Samples:
    time = numpy.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (32_767 * level * numpy.sin(2 * numpy.pi * frequency_hz * time)).astype(numpy.int16)


def silence(seconds: float) -> Samples:
    return numpy.zeros(round(seconds * RATE_HZ), numpy.int16)


@pytest.mark.parametrize("frequency_hz", [440.0, 700.0, 999.3, 1000.0, 1004.7])
def test_a_tone_is_found_to_a_fraction_of_a_hertz_when_there_is_one(frequency_hz: float) -> None:
    """A tone is found to a fraction of a hertz when there is one."""
    found = measure.tone_hz(tone(frequency_hz, 3.3))
    assert found is not None
    assert abs(found - frequency_hz) < 0.1


def test_the_louder_tone_is_found_when_there_is_noise_and_an_echo() -> None:
    """The louder tone is found when there is noise and an echo."""
    noise = numpy.random.default_rng(1).normal(0, 500, 3 * RATE_HZ).astype(numpy.int16)
    found = measure.tone_hz(tone(1000, 3) + tone(700, 3, 0.05) + noise)
    assert found is not None
    assert abs(found - 1000) < 0.5


def test_there_is_no_tone_when_there_is_silence() -> None:
    """There is no tone when there is silence."""
    assert measure.tone_hz(silence(1)) is None
    assert measure.tone_hz(silence(0)) is None


@pytest.mark.parametrize("gap_ms", [0, 10, 20, 45, 100, 150, 1000])
def test_the_gap_is_measured_to_its_window_when_sound_is_missing(gap_ms: int) -> None:
    """The gap is measured to its window when sound is missing."""
    sound = numpy.concatenate((tone(1000, 1.0), silence(gap_ms / 1000), tone(1000, 2.0), silence(0.005)))
    assert abs(measure.longest_gap_ms(sound) - max(gap_ms, 5)) <= 2 * measure.WINDOW_MS


def test_faint_noise_is_silence_when_the_tone_stops() -> None:
    """What a codec makes of nothing is no sound."""
    sound = numpy.concatenate((tone(1000, 2), tone(3000, 0.3, 0.01), tone(1000, 2)))
    assert 290 <= measure.longest_gap_ms(sound) <= 310


def test_all_of_it_is_a_gap_when_there_was_no_sound() -> None:
    """All of it is a gap when there was no sound."""
    assert measure.longest_gap_ms(silence(2)) == 2000


def heard(sound: Samples, *, until: float, first: float | None = 10.5) -> measure.Heard:
    return measure.heard(sound.tobytes(), begun_at=10.0, first_sound_at=first, until=until)


def test_sound_when_judged_counts_from_the_first_second_to_the_hang_up() -> None:
    """The ringing before and the silence after are no gaps, nor is what happens in the first second."""
    early = numpy.concatenate((tone(1000, 0.4), silence(0.3), tone(1000, 3.8)))
    found = heard(numpy.concatenate((silence(0.5), early, silence(3))), until=15.0)
    assert len(found.samples) == len(early)
    assert found.longest_gap_ms == 0
    assert found.tone_hz is not None
    assert abs(found.tone_hz - 1000) < 0.1


def test_sound_when_it_stops_before_the_hang_up_has_a_gap() -> None:
    """Also when the recording itself stops."""
    for rest in (silence(0), silence(1)):
        found = heard(numpy.concatenate((silence(0.5), tone(1000, 2.5), rest)), until=14.0)
        assert found.longest_gap_ms is not None
        assert 990 <= found.longest_gap_ms <= 1010


def test_nothing_is_claimed_when_nothing_was_heard() -> None:
    """Nothing is claimed when nothing was heard."""
    assert heard(silence(3), until=13, first=None).tone_hz is None
    assert heard(silence(3), until=13, first=None).longest_gap_ms is None
    assert heard(tone(1000, 0.9), until=10.9, first=10.0).longest_gap_ms is None


def pictures(counters: list[int | None], *, size: tuple[int, int] = (640, 480)) -> list[Picture]:
    return [Picture(20.0 + index / 30, counter, *size) for index, counter in enumerate(counters)]


def test_pictures_are_counted_by_their_number_when_some_are_lost_doubled_or_unreadable() -> None:
    """Pictures are counted by their number when some are lost doubled or unreadable."""
    found = measure.seen(pictures([10, 11, 11, 13, None, 15]), last_sent=16, until=20.2)
    assert (found.sent, found.received, found.unreadable) == (7, 4, 1)
    assert found.size == (640, 480)
    assert found.first_at == 20.0
    assert found.frames_per_second == pytest.approx(4 / 0.2)


def test_pictures_when_they_stop_coming_are_missed_until_the_hang_up() -> None:
    """The camera says how many there were, not what came."""
    found = measure.seen(pictures(list(range(30))), last_sent=299, until=30.0)
    assert (found.sent, found.received) == (300, 30)
    assert found.longest_freeze_ms > 8900


def test_picture_when_after_the_hang_up_does_not_count() -> None:
    """A picture after the hang up does not count."""
    found = measure.seen(pictures([1, 2, 3]), last_sent=2, until=20.05)
    assert (found.sent, found.received) == (2, 2)


def test_nothing_is_claimed_when_nothing_was_seen() -> None:
    """Nothing is claimed when nothing was seen."""
    for seen in ([], pictures([None, None])):
        found = measure.seen(seen, last_sent=5, until=30)
        assert (found.sent, found.received, found.size) == (0, 0, None)


def report(**changes: object) -> dict[str, object]:
    return {
        "press_to_ring_ms": 12.0,
        "accept_to_first_audio_ms": {"house_hears": 200.0, "door_hears": 220.0},
        "first_video_ms": 180.0,
        "video_frames_sent": 300,
        "video_frames_received": 297,
        "video_fps": 29.9,
        "video_size": [640, 480],
        "tone_hz": {
            "house_hears": {"sent": 1000, "heard": 1000.1},
            "door_hears": {"sent": 700, "heard": 699.9},
        },
        "longest_audio_gap_ms": {"house_hears": 10.0, "door_hears": 0.0},
        "door_statuses": ["initiating", "ringing", "active", "ended"],
        "house_statuses": ["ringing", "active", "ended"],
        **changes,
    }


def failed(**changes: object) -> list[str]:
    return [bar.name for bar in measure.bars(report(**changes), size=(640, 480)) if not bar.ok]


def test_every_bar_is_passed_when_the_call_was_good() -> None:
    """Every bar is passed when the call was good."""
    assert failed() == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"press_to_ring_ms": 100.1}, "press to ring"),
        ({"first_video_ms": None}, "accept to first picture"),
        ({"video_frames_received": 269}, "pictures received of sent"),
        ({"video_frames_received": 0, "video_frames_sent": 0}, "pictures received of sent"),
        ({"video_fps": 14.9}, "pictures a second"),
        ({"video_size": [320, 240]}, "picture size"),
        ({"video_size": None}, "picture size"),
        ({"door_statuses": ["initiating", "active", "ended"]}, "states of the door"),
        ({"house_statuses": []}, "states of the house"),
        (
            {"accept_to_first_audio_ms": {"house_hears": 1.0, "door_hears": None}},
            "accept to first sound, door hears",
        ),
        ({"longest_audio_gap_ms": {"house_hears": 105.0, "door_hears": 0.0}}, "longest gap, house hears"),
        ({"longest_audio_gap_ms": {"house_hears": 0.0, "door_hears": None}}, "longest gap, door hears"),
        (
            {
                "tone_hz": {
                    "house_hears": {"sent": 1000, "heard": 1005.1},
                    "door_hears": {"sent": 700, "heard": 700},
                }
            },
            "tone, house hears",
        ),
        (
            {
                "tone_hz": {
                    "house_hears": {"sent": 1000, "heard": 1000},
                    "door_hears": {"sent": 700, "heard": None},
                }
            },
            "tone, door hears",
        ),
    ],
)
def test_its_bar_alone_fails_when_one_thing_is_not_good_enough(changes: dict[str, object], name: str) -> None:
    """Its bar alone fails when one thing is not good enough."""
    assert failed(**changes) == [name]
