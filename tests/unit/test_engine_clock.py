"""Whose word on the time counts: the engine's own, before any that came on the way."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from utdstream._rest.clock import EngineClock
from utdstream._wire import routes

NEW_YEAR = {routes.HEADER_TIME: "1893456000000"}
YESTERDAY = {"Date": "Mon, 31 Dec 2029 00:00:00 GMT"}


def is_about(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < timedelta(seconds=30)


def test_time_when_nobody_told_it_is_this_machines() -> None:
    """And the engine's own word is none."""
    clock = EngineClock()
    assert is_about(clock.now(), datetime.now(timezone.utc))
    assert clock.told() is None


def test_time_when_only_a_date_tells_it_is_that_and_no_word_of_the_engines() -> None:
    """An engine that does not say its time may have a proxy before it, whose clock the header is by."""
    clock = EngineClock()
    clock.learn(YESTERDAY)
    assert is_about(clock.now(), datetime(2029, 12, 31, tzinfo=timezone.utc))
    assert clock.told() is None


def test_time_when_the_engine_told_it_is_never_a_dates_again() -> None:
    """Neither in the same answer nor in a later one that a proxy gave by itself."""
    clock = EngineClock()
    for headers in (NEW_YEAR | YESTERDAY, YESTERDAY):
        clock.learn(headers)
        assert is_about(clock.told(), datetime(2030, 1, 1, tzinfo=timezone.utc))
        assert clock.now() - (clock.told() or clock.now()) < timedelta(seconds=1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": "yesterday"},
        {"Date": "Tue, 99 Jan 2030 00:00:00 GMT"},
        {"Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"Date": "Tue, 01 Jan 99999999999999999999 00:00:00 GMT"},
        {"Date": "Tue, 01 Jan 2030 00:00:00 GMT, Tue, 01 Jan 2030 00:00:00 GMT"},
        {routes.HEADER_TIME: "soon"},
        {routes.HEADER_TIME: "-1893456000000"},
        {routes.HEADER_TIME: "1893456000000, 1893456000000"},
        {routes.HEADER_TIME: "9" * 13},
        {routes.HEADER_TIME: "9" * 5000},
        {routes.HEADER_TIME: "\u0661" * 13},
        {routes.HEADER_TIME: "1"},
    ],
)
def test_time_when_a_header_is_rubbish_stays_what_it_was(headers: dict[str, str]) -> None:
    """No answer makes a time of which a later sum is out of range."""
    clock = EngineClock()
    clock.learn(NEW_YEAR)
    clock.learn(headers)
    assert is_about(clock.told(), datetime(2030, 1, 1, tzinfo=timezone.utc))
    other = EngineClock()
    other.learn(headers)
    assert is_about(other.now(), datetime.now(timezone.utc)) or other.now().year == 2030
    assert other.told() is None
