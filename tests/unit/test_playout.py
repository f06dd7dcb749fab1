"""Remote sound on its way out: rings that cannot grow, mixing, one speaker for several."""

from __future__ import annotations

import numpy
import pytest

from utdstream._livekit.loop import loop_thread
from utdstream._livekit.playout import LOOK_MS, PRIME_MS, RING_MS, Mixer, PcmRing, mix
from utdstream._livekit.subscribing import Subscriber, VideoConsumer
from utdstream._threads.deadline import Deadline
from utdstream.media import PcmFormat

MONO = PcmFormat(48_000, 1)
STEREO = PcmFormat(48_000, 2)
FRAME = MONO.frame_bytes


def frame(value: int, format_: PcmFormat = MONO) -> bytes:
    """10 ms of one sample value."""
    samples = format_.samples_per_frame * format_.channels
    return numpy.full(samples, value, dtype=numpy.int16).tobytes()


def test_ring_when_it_is_empty_gives_nothing() -> None:
    """Silence is the mixer's word, not the ring's."""
    ring = PcmRing(MONO)
    assert ring.pull(FRAME) is None
    assert ring.underruns == 0


def test_ring_when_it_starts_waits_for_a_reserve() -> None:
    """Two frames in hand: one that is late costs no click."""
    ring = PcmRing(MONO)
    for number in range(PRIME_MS // 10):
        assert ring.pull(FRAME) is None
        ring.push(frame(number))
    assert ring.pull(FRAME) == frame(0)
    assert ring.pull(FRAME) == frame(1)


def test_ring_when_it_runs_dry_counts_once_and_primes_again() -> None:
    """One gap, not a row of clicks."""
    ring = PcmRing(MONO)
    ring.push(frame(1) + frame(2))
    ring.pull(FRAME)
    ring.pull(FRAME)
    for _ in range(10):
        assert ring.pull(FRAME) is None
    assert ring.underruns == 1
    ring.push(frame(3))
    assert ring.pull(FRAME) is None
    ring.push(frame(4))
    assert ring.pull(FRAME) == frame(3)


def test_ring_when_the_last_sound_is_short_pads_with_silence() -> None:
    """Exactly what was asked for."""
    ring = PcmRing(MONO)
    ring.push(frame(5) + frame(5))
    ring.pull(FRAME)
    ring.push(frame(5)[: FRAME // 2])
    ring.pull(FRAME)
    assert ring.pull(FRAME) == frame(5)[: FRAME // 2] + bytes(FRAME // 2)


def test_ring_when_it_is_full_drops_the_oldest() -> None:
    """Delay cannot grow: at most 120 ms are kept, and what was lost is counted."""
    ring = PcmRing(MONO)
    ring.push(frame(100) + frame(101))
    ring.pull(FRAME)
    for number in range(100):
        ring.push(frame(number))
    assert ring.pull(FRAME) == frame(100 - RING_MS // 10)
    assert ring.dropped_bytes == (101 - RING_MS // 10) * FRAME


def test_ring_when_sound_came_before_anybody_pulled_plays_the_newest() -> None:
    """A speaker that opens late does not play the call 120 ms late for ever."""
    ring = PcmRing(MONO)
    for number in range(10):
        ring.push(frame(number))
    assert ring.pull(FRAME) == frame(8)
    assert ring.pull(FRAME) == frame(9)


def test_ring_when_sound_lies_unneeded_for_a_second_drops_it() -> None:
    """A card that paused, or a peer whose clock is fast, leaves no delay behind."""
    ring = PcmRing(MONO)
    ring.push(frame(1) * 2)
    ring.pull(FRAME)
    ring.push(frame(1) * 5)  # the card paused for 50 ms
    for _ in range(2 * LOOK_MS // 10):
        ring.push(frame(1))
        ring.pull(FRAME)
    assert len(ring._pcm) < 2 * FRAME


def test_ring_when_it_ran_dry_keeps_more_in_hand() -> None:
    """What is unneeded is learnt: after an underrun a little more may lie there."""
    ring = PcmRing(MONO)
    ring.push(frame(1) * 2)
    for _ in range(3):
        ring.pull(FRAME)
    assert ring.underruns == 1
    for _ in range(3 * LOOK_MS // 10):
        ring.push(frame(1))
        ring.pull(FRAME)
    assert len(ring._pcm) >= FRAME


def test_ring_when_a_card_pulls_more_than_the_reserve_waits_for_it() -> None:
    """A card with a period of 40 ms gets 40 ms or nothing, and begins with a frame in hand beside them."""
    ring = PcmRing(MONO)
    ring.push(frame(1) * 4)
    assert ring.pull(4 * FRAME) is None
    ring.push(frame(1))
    assert ring.pull(4 * FRAME) == frame(1) * 4


@pytest.mark.parametrize("samples", [1, 441, 480, 1024, 4096, 5760, 6240, 8192, 48_000, 480_000])
def test_ring_when_a_card_pulls_by_any_size_is_heard_without_a_gap(samples: int) -> None:
    """From one sample to ten seconds at a time: what is pulled, once it begins, is sound to the last sample."""
    ring = PcmRing(MONO)
    heard: list[bytes] = []
    pushed = pulled = 0
    for _ in range(25):
        while pushed < pulled + samples + 2 * MONO.samples_per_frame:  # the sender's clock is the card's
            ring.push(frame(7))
            pushed += MONO.samples_per_frame
        pcm = ring.pull(samples * 2)
        if pcm is not None:
            heard.append(pcm)
        pulled += samples
    assert len(heard) >= 20
    assert all(pcm == numpy.full(samples, 7, dtype=numpy.int16).tobytes() for pcm in heard)
    assert ring.underruns == 0


def test_ring_when_a_long_period_is_not_full_goes_on_with_the_next() -> None:
    """The silence that filled it is the reserve that was missing: no whole period is lost to gather it anew."""
    ring = PcmRing(MONO)
    ring.push(frame(1) * 9)
    assert ring.pull(8 * FRAME) == frame(1) * 8
    ring.push(frame(1) * 5)  # two frames are late
    assert ring.pull(8 * FRAME) == frame(1) * 6 + bytes(2 * FRAME)
    ring.push(frame(1) * 8)
    assert ring.pull(8 * FRAME) == frame(1) * 8
    assert ring.underruns == 1
    assert ring.pull(8 * FRAME) is None
    assert ring.pull(8 * FRAME) is None
    assert ring.underruns == 2


def test_ring_when_a_pull_is_longer_than_any_card_s_gives_what_there_is() -> None:
    """Ten seconds are waited for, not an hour: the rest of the hour is silence."""
    ring = PcmRing(MONO)
    ring.pull(360_000 * FRAME)
    ring.push(frame(1) * 1001)
    pcm = ring.pull(360_000 * FRAME)
    assert pcm is not None
    assert len(pcm) == 360_000 * FRAME
    assert pcm.startswith(frame(1) * 1001)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_mix_when_it_adds_clips(count: int) -> None:
    """The sum, held inside 16 bits."""
    total = mix([frame(20_000)] * count, FRAME)
    assert total == frame(min(20_000 * count, 32_767))
    assert mix([frame(-20_000)] * count, FRAME) == frame(max(-20_000 * count, -32_768))


def test_mix_when_there_is_nobody_is_silence() -> None:
    """Never None, never short."""
    assert mix([], FRAME) == bytes(FRAME)


def test_mixer_when_asked_always_answers_exactly() -> None:
    """n samples a channel, at once, with nobody, one and two talking."""
    mixer = Mixer(STEREO)
    assert mixer.pull(480) == bytes(1920)
    first, second = mixer.open_ring(), mixer.open_ring()
    for ring, value in ((first, 100), (second, 23)):
        ring.push(frame(value, STEREO) * 3)
    assert mixer.pull(480) == frame(123, STEREO)
    mixer.close_ring(second)
    assert mixer.pull(480) == frame(100, STEREO)
    assert len(mixer.pull(441)) == 441 * 4
    assert mixer.pull(0) == mixer.pull(-1) == b""


def test_mixer_when_a_track_goes_keeps_its_underruns() -> None:
    """The counter of a session never falls."""
    mixer = Mixer(MONO)
    ring = mixer.open_ring()
    ring.push(frame(1) * 2)
    for _ in range(3):
        mixer.pull(480)
    assert mixer.underruns == 1
    mixer.close_ring(ring)
    assert mixer.underruns == 1


def test_viewer_when_it_comes_while_the_room_is_left_is_told_at_once() -> None:
    """Not after the time limit of its first picture."""
    loop = loop_thread()

    async def story() -> VideoConsumer:
        subscriber = Subscriber(loop, adaptive=True, auto_subscribe=True, linger_s=1.0)
        await subscriber.close()
        viewer = VideoConsumer()
        subscriber.add(viewer)
        return viewer

    viewer = loop.run(story, deadline=Deadline(5, 5, "asking"))
    assert viewer.take(0.0) is None
    assert viewer.over
