"""Broker logins that nobody has asked for in ninety days, by a clock that is given."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta, timezone

from utdstream.engine.background import Timers, Work
from utdstream.engine.flows.old_logins import KEEP_FOR, LOOK_EVERY_S, OldLogins
from utdstream.engine.rules.keys import Login
from utdstream.engine.store.sqlite.database import SqliteStore

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
HOUSE, DOOR, KIOSK = Login("house"), Login("door", "key_1"), Login("kiosk", "key_2")


class GivenTimers(Timers):
    """Keeps what it is to do, and does it when it is told to; a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.due: list[tuple[float, Work]] = []

    def after(self, delay_s: float, name: str, work: Work) -> None:
        self.due.append((delay_s, work))

    def turn(self, days: float) -> None:
        """Moves the clock to this day, and does what is due."""
        self.now = BEGIN + timedelta(days=days)
        [(delay_s, work)] = self.due
        assert delay_s == LOOK_EVERY_S
        self.due = []
        asyncio.run(work())


def test_login_when_not_minted_for_ninety_days_ends_and_the_others_stay() -> None:
    """To the day: of an identity that went on signing in, and of one that came later, nothing ends."""
    assert timedelta(days=90) == KEEP_FOR
    store = SqliteStore(":memory:")
    timers = GivenTimers()
    ended: list[list[Login]] = []
    old = OldLogins(store.logins, timers, now=lambda: timers.now, end=ended.append)
    for login in (HOUSE, DOOR):
        store.logins.see(login, BEGIN)
    store.logins.see(KIOSK, BEGIN + timedelta(days=40))
    old.start()
    store.logins.see(DOOR, BEGIN + timedelta(days=60))
    timers.turn(days=89.9)
    timers.turn(days=90.1)
    timers.turn(days=131)
    assert ended == [[], [HOUSE], [HOUSE, KIOSK]]
    store.close()


def test_look_when_it_failed_is_made_again() -> None:
    """A database that is held does not end the looking."""
    store = SqliteStore(":memory:")
    timers = GivenTimers()
    store.logins.see(HOUSE, BEGIN)
    failures = [RuntimeError("held")]

    def end(logins: list[Login]) -> None:
        if failures:
            raise failures.pop()
        store.logins.end(logins)

    OldLogins(store.logins, timers, now=lambda: timers.now, end=end).start()
    with contextlib.suppress(RuntimeError):
        timers.turn(days=100)
    timers.turn(days=101)
    assert store.logins.ending() == [HOUSE]
    store.close()
