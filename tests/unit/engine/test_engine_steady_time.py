"""Which clock is believed before something is deleted by its age, or a ban ends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from utdstream.engine.background import Timers
from utdstream.engine.flows.steady_clock import SteadyClock, elapsed_s
from utdstream.engine.rules import calls
from utdstream.engine.rules.bans import Ban, end_of
from utdstream.engine.rules.steady_time import BELIEVED_AFTER_S, Belief, begin, look
from utdstream.engine.store.sqlite.database import SqliteStore
from utdstream.models import UTDStreamType

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
DAY_S = 24 * 3600.0
SOUND = Belief(NOW, 1000.0)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def believed(jump: timedelta, *, after_s: float = 60.0, belief: Belief = SOUND) -> timedelta:
    """The time that is believed `after_s` later by a clock that has jumped, from the right time on."""
    right = belief.wall + timedelta(seconds=after_s)
    return look(belief, right + jump, belief.at_s + after_s)[1] - right


@pytest.mark.parametrize("jump", [days(0), timedelta(hours=1), days(1), timedelta(hours=-1), days(-4000)])
def test_clock_when_it_steps_a_little_or_back_is_believed(jump: timedelta) -> None:
    """A time server sets it right, and nobody is freed by a clock that goes back."""
    assert believed(jump) == jump


@pytest.mark.parametrize("jump", [timedelta(days=1, seconds=1), days(100), days(20_000)])
def test_clock_when_it_jumps_forward_is_not_believed(jump: timedelta) -> None:
    """The time goes on as if it had not jumped."""
    assert believed(jump) == timedelta(0)


def test_clock_when_it_jumps_in_many_small_steps_is_not_believed() -> None:
    """What is believed is measured from where the clock was right, not from the last step."""
    belief = SOUND
    for step in range(1, 101):
        at_s = 1000.0 + step
        belief, now = look(belief, NOW + days(0.9 * step), at_s)
    assert now == NOW + timedelta(seconds=100)


def test_clock_when_it_is_set_right_again_is_believed_at_once() -> None:
    """The doubt is over, and the next jump begins a new one."""
    doubted, _ = look(SOUND, NOW + days(100), 1060.0)
    assert doubted.doubted_at_s == 1060.0
    sound, now = look(doubted, NOW + timedelta(seconds=90), 1090.0)
    assert (sound.doubted_at_s, now) == (None, NOW + timedelta(seconds=90))


def test_clock_when_it_says_so_for_a_week_is_believed() -> None:
    """A device whose clock was wrong before, and right now, is not behind for ever."""
    belief, _ = look(SOUND, NOW + days(100), 1000.0)
    just_before = timedelta(seconds=BELIEVED_AFTER_S - 1)
    belief, now = look(belief, NOW + days(100) + just_before, 1000.0 + just_before.total_seconds())
    assert now == NOW + just_before
    belief, now = look(belief, NOW + days(107), 1000.0 + BELIEVED_AFTER_S)
    assert now == NOW + days(107)
    assert look(belief, NOW + days(108), 1000.0 + BELIEVED_AFTER_S + DAY_S)[1] == NOW + days(108)


@pytest.mark.parametrize(
    ("off_days", "is_believed"),
    [(-5, False), (0, True), (29, True), (31, False), (100, False), (-20_000, False)],
)
def test_start_when_the_engine_was_off_for_a_month_is_believed_and_longer_is_not(
    off_days: int, is_believed: bool
) -> None:
    """Held against the time that was written down, nor is one before it; without one the clock is all there is."""
    wall = NOW + days(off_days)
    assert look(begin(wall, 5.0, NOW), wall, 5.0)[1] == (wall if is_believed else NOW)
    assert look(begin(wall, 5.0, None), wall, 5.0)[1] == wall


OLD_TIMES = [days(-20_000), days(-0.5), timedelta(minutes=20)]
"""What a machine without a battery begins with: nothing, its last image, what was saved at its end."""


@pytest.mark.parametrize("old", OLD_TIMES)
@pytest.mark.parametrize("off_days", [0.01, 2, 29])
def test_clock_when_it_is_set_after_a_start_with_an_old_time_is_believed_at_once(
    old: timedelta, off_days: float
) -> None:
    """A machine without a battery was off for days: the time goes on from the note until the network is there."""
    belief = begin(NOW + old, 5.0, NOW)
    belief, now = look(belief, NOW + old + timedelta(seconds=60), 65.0)
    assert now == max(NOW, NOW + old) + timedelta(seconds=60)
    belief, now = look(belief, NOW + days(off_days), 70.0)
    assert (belief.doubted_at_s, now) == (None, NOW + days(off_days))
    assert look(belief, NOW + days(off_days + 1), 70.0 + DAY_S)[1] == NOW + days(off_days + 1)


@pytest.mark.parametrize("old", OLD_TIMES)
def test_clock_when_it_is_set_by_100_days_after_such_a_start_is_not_believed(old: timedelta) -> None:
    """Nor in steps: what is believed is measured from the note."""
    belief = begin(NOW + old, 5.0, NOW)
    for step in range(1, 101):
        belief, now = look(belief, NOW + days(step), 5.0 + step)
        assert now <= NOW + days(31)
    assert belief.doubted_at_s is not None


def test_clock_when_the_machine_has_run_for_a_day_is_set_no_more() -> None:
    """By then it is a jump like any other."""
    belief, _ = look(begin(NOW, 5.0, NOW), NOW + days(1), 5.0 + DAY_S)
    assert look(belief, NOW + days(9), 6.0 + DAY_S)[1] == NOW + days(1) + timedelta(seconds=1)


def test_clock_when_it_stays_behind_the_note_for_a_week_is_believed() -> None:
    """It was the note that was wrong."""
    right = NOW - days(400)
    belief = begin(right, 5.0, NOW)
    assert look(belief, right + days(6), 5.0 + 6 * DAY_S)[1] == NOW + days(6)
    belief, now = look(belief, right + days(7), 5.0 + 7 * DAY_S)
    assert now == right + days(7)
    assert look(belief, right + days(8), 5.0 + 8 * DAY_S)[1] == right + days(8)


class Clocks:
    """A wall clock that somebody sets, and one that nobody does."""

    def __init__(self) -> None:
        self.wall = NOW
        self.elapsed = 1000.0

    def goes_on(self, seconds: float, jump: timedelta = timedelta(0)) -> None:
        self.elapsed += seconds
        self.wall += timedelta(seconds=seconds) + jump


def steady(store: SqliteStore, clocks: Clocks) -> SteadyClock:
    return SteadyClock(store, Timers(), wall=lambda: clocks.wall, elapsed=lambda: clocks.elapsed)


def filled(path: Path) -> SqliteStore:
    """A store with a call of yesterday that is over, and a ban of an hour."""
    store = SqliteStore(str(path))
    call = calls.new_call(
        call_id="call_1", type=UTDStreamType.AUDIO_CALL, caller="door", callee="house",
        now=NOW - days(1), ring_timeout_s=30.0, max_duration_s=60.0,
    )  # fmt: skip
    store.calls.insert(replace(calls.end(call, "door", NOW - days(1)), room_open=False))
    store.bans.put(Ban(0, "mallory", None, NOW, end_of(NOW, 3600)))
    return store


@pytest.mark.parametrize("is_restarted", [False, True])
def test_clock_when_it_jumps_100_days_deletes_nothing_and_frees_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_restarted: bool
) -> None:
    """While the engine runs, and while it is off; the log says it once; an hour later the ban ends as due."""

    async def jump() -> None:
        clocks, store = Clocks(), filled(tmp_path / "engine.db")
        clock = steady(store, clocks)
        clock.start()
        if is_restarted:
            store.close()
            clocks.goes_on(60.0, days(100))
            store = SqliteStore(str(tmp_path / "engine.db"))
            clock = steady(store, clocks)
        else:
            clocks.goes_on(60.0, days(100))
        for _ in range(3):
            store.calls.forget_old(clock.now())
            assert store.calls.get("call_1") is not None
            assert store.bans.of("mallory", clock.now()) != []
            store.bans.put(Ban(0, "bob", "lobby", clock.now(), None))
            assert store.bans.of("mallory", clock.now()) != []
        clocks.goes_on(3601.0)
        assert store.bans.of("mallory", clock.now()) == []
        store.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(jump())
    assert [record.message.split(",")[0] for record in caplog.records] == [
        f"the clock says {(NOW + days(100) + timedelta(seconds=60)).isoformat()}"
    ]


def test_ban_when_the_machine_without_a_battery_was_off_for_days_ends_when_due(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds while the clock is an old one, and not a week longer than it says once the clock is set."""

    async def power_cut() -> None:
        clocks, store = Clocks(), filled(tmp_path / "engine.db")
        steady(store, clocks).start()
        store.close()
        clocks.elapsed, clocks.wall = 8.0, NOW - days(20_000)
        store = SqliteStore(str(tmp_path / "engine.db"))
        clock = steady(store, clocks)
        clock.start()
        assert store.bans.of("mallory", clock.now()) != []
        store.bans.put(Ban(0, "bob", None, clock.now(), end_of(clock.now(), 4 * 24 * 3600)))
        clocks.elapsed, clocks.wall = 40.0, NOW + days(3)
        assert store.bans.of("mallory", clock.now()) == []
        assert store.bans.of("bob", clock.now()) != []
        clocks.goes_on(DAY_S)
        assert store.bans.of("bob", clock.now()) == []
        store.close()

    with caplog.at_level(logging.INFO, "utdstream.engine.flows.steady_clock"):
        asyncio.run(power_cut())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_elapsed_seconds_when_read_twice_only_grow() -> None:
    """The real clock that nobody sets."""
    first = elapsed_s()
    assert elapsed_s() >= first
