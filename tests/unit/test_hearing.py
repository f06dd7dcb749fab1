"""What the figures of a connection say about its link."""

from __future__ import annotations

import pytest

from utdstream._livekit.hearing import BLOCKED_LISTENER_S, BLOCKED_S, LOOK_S, QUICK_S, Figures, Hearing, Way


def by_one_way(packets: int, checks: int, media: int | None = None, age_s: float = 0.0) -> Figures:
    return Figures({"a": Way(packets, checks, age_s)}, packets if media is None else media)


def hearing(*looks: tuple[float, int, int]) -> Hearing:
    """One that has looked at these times, at so many packets (the newest just came) and STUN checks."""
    made = Hearing(0.0)
    for now, packets, checks in looks:
        made.take(by_one_way(packets, checks), now)
    return made


def test_silence_when_packets_come_is_measured_from_the_newest() -> None:
    """Not from the look that found it: it may have come just before the link was cut."""
    ear = hearing((1.0, 50, 3))
    ear.take(by_one_way(90, 3, age_s=0.75), 2.0)
    assert ear.silent_s(2.0) == 0.75


def test_silence_when_media_has_taken_another_way_is_measured_by_that_one() -> None:
    """After a cut the old way is still told of for a while, with the age of its last packet, and then no more."""
    ear = hearing((1.0, 500, 3))
    ear.take(Figures({"b": Way(50, 0, 0.01), "a": Way(520, 3, 0.9)}, media=570), 2.0)
    assert ear.silent_s(2.0) == pytest.approx(0.01)
    ear.take(Figures({"b": Way(100, 0, 0.02), "a": Way(520, 3, 1.9)}, media=620), 3.0)
    assert ear.silent_s(3.0) == pytest.approx(0.02)
    ear.take(Figures({"b": Way(150, 0, 0.03)}, media=670), 4.0)
    assert ear.silent_s(4.0) == pytest.approx(0.03)
    assert ear.left_s(4.0, publishes=True) == pytest.approx(0.57), "it flows"


def test_silence_when_the_core_begins_a_session_anew_goes_on() -> None:
    """Its figures begin at nothing, which differs from before and is no packet."""
    ear = hearing((1.0, 50, 3), (2.0, 100, 4), (5.0, 0, 0))
    assert ear.silent_s(5.0) == 3.0


@pytest.mark.parametrize(
    ("looks", "publishes", "usual_s"),
    [
        (((1.0, 10, 3), (2.0, 60, 3)), True, 0.6),  # media flows
        (((1.0, 10, 3), (2.0, 11, 3)), True, 1.2),  # feedback alone
        (((1.0, 10, 3), (2.0, 10, 4)), False, 2.4),  # STUN checks alone
    ],
)
def test_silence_when_it_is_usual_is_no_question(
    looks: tuple[tuple[float, int, int], ...], publishes: bool, usual_s: float
) -> None:
    """The more usually comes, the sooner its absence means something."""
    ear = hearing(*looks)
    assert ear.left_s(2.0, publishes=publishes) == pytest.approx(usual_s)
    assert ear.left_s(2.1 + usual_s, publishes=publishes) < 0


@pytest.mark.parametrize(("publishes", "blocked_s"), [(True, BLOCKED_S), (False, BLOCKED_LISTENER_S)])
def test_silence_when_it_is_too_long_is_a_loss_whatever_can_be_reached(
    publishes: bool, blocked_s: float
) -> None:
    """Media alone may be blocked on the way."""
    ear = hearing((1.0, 10, 3), (2.0, 60, 3))
    assert not ear.is_blocked(1.9 + blocked_s, publishes=publishes)
    assert ear.is_blocked(2.0 + blocked_s, publishes=publishes)


def test_look_when_something_came_just_now_is_a_second_away_and_else_sooner() -> None:
    """A cut between two looks is noticed in time all the same."""
    ear = hearing((1.0, 10, 3), (2.0, 60, 3))
    assert ear.next_look_s(2.1, publishes=True) == LOOK_S
    assert ear.next_look_s(2.5, publishes=True) == QUICK_S


def test_others_when_no_media_of_theirs_comes_are_silent_though_packets_do() -> None:
    """Until then nothing was expected of them."""
    ear = hearing((1.0, 10, 3), (2.0, 60, 3))
    for now in (3.0, 4.0, 5.0, 6.0):
        ear.take(by_one_way(60 + int(now), 3, media=60), now)
    assert ear.others_silent_s(6.0) == 4.0
    ear.excuse_others(6.0)
    assert ear.others_silent_s(7.0) == 1.0


def test_picture_when_its_packets_come_and_none_is_made_of_them_is_stuck() -> None:
    """It waits for a key frame; without packets it only pauses."""
    ear = Hearing(0.0)
    for now, packets, pictures in ((1.0, 10, 10), (2.0, 20, 20), (3.0, 20, 20), (4.0, 30, 20)):
        ear.take(Figures({"a": Way(packets, 3, 0.0)}, packets, {7: (packets, pictures)}), now)
        assert ear.is_picture_stuck == (now == 4.0)
