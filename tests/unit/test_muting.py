"""What a track is told of its mute, and when it is told again. On virtual time, with a core that loses words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from utdstream._livekit.muting import DOUBT_S, TrackMute


class Track:
    """What the core sends for one track: what waits for the end of a reconnect goes out in the worst order."""

    def __init__(self) -> None:
        self.reconnecting = False
        self.server_says_muted = False
        self._waiting: list[bool] = []

    def mute(self) -> None:
        self._say(True)

    def unmute(self) -> None:
        self._say(False)

    def reconnected(self) -> None:
        self.reconnecting = False
        for word in sorted(self._waiting, reverse=True):
            self.server_says_muted = word
        self._waiting.clear()

    def _say(self, muted: bool) -> None:
        if self.reconnecting:
            self._waiting.append(muted)
        else:
            self.server_says_muted = muted


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a sleep moves on."""
    moment = [1000.0]

    async def sleep(seconds: float) -> None:
        moment[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return moment


def repeat(mute: TrackMute, track: Any, *, then: Callable[[], None] = lambda: None) -> bool:
    wants_more = asyncio.run(mute.repeat(track))
    then()
    return wants_more


def test_mute_when_told_at_the_very_end_of_a_reconnect_is_known_after_the_second_repeat(
    now: list[float],
) -> None:
    """The core says that it is connected, and still holds what it is told: the unmute goes out last."""
    track: Any = Track()
    mute = TrackMute(lambda: now[0])
    mute.begin(track, muted=False)
    track.reconnecting = True
    mute.tell(track, muted=True, reconnecting=True)
    mute.doubt()
    assert repeat(mute, track, then=track.reconnected)
    assert not track.server_says_muted
    mute.doubt_again()
    assert mute.in_doubt
    assert not repeat(mute, track)
    assert track.server_says_muted


def test_mute_when_repeated_shortly_before_a_reconnect_is_in_doubt(now: list[float]) -> None:
    """The repeat itself may have been lost, however long ago the toggle was."""
    track: Any = Track()
    mute = TrackMute(lambda: now[0])
    mute.begin(track, muted=False)
    mute.tell(track, muted=True, reconnecting=True)
    now[0] += DOUBT_S + 1
    repeat(mute, track)
    mute.doubt()
    assert mute.in_doubt
    assert repeat(mute, track), "a new doubt has its own second repeat"


def test_mute_when_it_was_told_long_before_a_reconnect_is_not_repeated(now: list[float]) -> None:
    """Nobody hears a gap for nothing."""
    track: Any = Track()
    mute = TrackMute(lambda: now[0])
    mute.begin(track, muted=False)
    mute.tell(track, muted=True, reconnecting=False)
    now[0] += DOUBT_S + 1
    mute.doubt()
    assert not mute.in_doubt
