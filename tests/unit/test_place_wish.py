"""The seat that is wanted: lost with the connection it is asked for again, taken away by the host it is not."""

from __future__ import annotations

import pytest

from utdstream import Conflict, DeadlineExceeded, PermissionDenied, UTDStreamException
from utdstream._rooms.place_wish import PlaceWish, sit_again
from utdstream.models import Seat, SeatGrid


@pytest.fixture
def seated() -> PlaceWish:
    """Who joined, and sits on seat 2."""
    wish = PlaceWish()
    wish.begin()
    wish.take_news(None, here=False)
    assert not wish.is_lost(None)
    wish.take_news(2, here=True)
    return wish


def test_seat_when_lost_with_the_connection_is_wanted_again(seated: PlaceWish) -> None:
    """However many joins were tried, and whatever old news said meanwhile."""
    seated.begin()
    seated.begin()
    seated.take_news(2, here=True)  # metadata of before
    seated.take_news(None, here=True)
    assert seated.is_lost(None)
    assert seated.index == 2
    seated.take_news(3, here=True)
    assert seated.index == 3


def test_seat_when_still_there_after_the_connection_is_not_asked_for(seated: PlaceWish) -> None:
    """The engine kept it; a kick later is a kick."""
    seated.begin()
    assert not seated.is_lost(2)
    seated.take_news(None, here=True)
    assert seated.index is None


def test_seat_when_taken_away_in_the_room_is_given_up(seated: PlaceWish) -> None:
    """The host's word, also for the next connection."""
    seated.take_news(None, here=True)
    seated.begin()
    assert not seated.is_lost(None)


def test_seat_when_asked_about_while_away_is_still_wanted(seated: PlaceWish) -> None:
    """`get_seats()` in the gap says that others have it: it is asked for when the room is back."""
    seated.take_news(None, here=False)
    seated.begin()
    assert seated.is_lost(None)


def test_seat_when_left_is_not_wanted(seated: PlaceWish) -> None:
    """A listener stays one."""
    seated.drop()
    seated.begin()
    assert not seated.is_lost(None)


def test_seat_of_a_session_before_when_still_in_the_news_of_a_join_is_not_wanted() -> None:
    """A program that leaves its seat and joins again within a second: the metadata may be older than both."""
    wish = PlaceWish()
    wish.begin()
    wish.take_news(1, here=True)
    wish.take_news(None, here=True)
    assert not wish.is_lost(None)
    assert wish.index is None


def test_seat_when_the_engine_says_so_after_a_join_is_wanted() -> None:
    """It kept the seat of a participant who was away for a moment."""
    wish = PlaceWish()
    wish.begin()
    assert not wish.is_lost(2)
    assert wish.index == 2


def test_seat_when_given_up_before_its_news_came_is_not_wanted(seated: PlaceWish) -> None:
    """A take that its caller left: given back at once, then told as taken, then interrupted."""
    seated.drop()
    seated.take_news(2, here=True)  # of the take that is undone already
    seated.begin()
    seated.take_news(None, here=True)
    assert not seated.is_lost(None)


def test_seat_when_asked_for_after_one_was_given_up_is_wanted(seated: PlaceWish) -> None:
    """Whether news said that the first was gone or not: the program's word is newer."""
    seated.drop()
    seated.ask()
    seated.take_news(3, here=True)
    seated.begin()
    assert seated.is_lost(None)
    assert seated.index == 3


def test_seat_when_the_host_gives_one_after_another_was_given_up_is_wanted(seated: PlaceWish) -> None:
    """News have said that the first is gone: what they say next is new."""
    seated.drop()
    seated.take_news(None, here=True)
    seated.take_news(4, here=True)
    assert seated.index == 4


GRID = SeatGrid(5, seats=(Seat(0, "host"), Seat(1), Seat(2), Seat(3, locked=True), Seat(4)))


class Grid:
    """Takes seats, and refuses those it was told to."""

    def __init__(self, **refusals: UTDStreamException) -> None:
        self.asked: list[int] = []
        self._refusals = refusals

    def take(self, index: int) -> None:
        self.asked.append(index)
        if f"seat_{index}" in self._refusals:
            raise self._refusals[f"seat_{index}"]


def test_sitting_again_when_the_seat_is_free_takes_that_one(seated: PlaceWish) -> None:
    """No other is asked for."""
    grid = Grid()
    assert sit_again(seated, GRID, grid.take) is None
    assert grid.asked == [2]


def test_sitting_again_when_the_seat_is_taken_takes_any_free_one(seated: PlaceWish) -> None:
    """Neither the host's nor a locked one; one that is refused is followed by the next."""
    grid = Grid(seat_2=Conflict("taken"), seat_1=PermissionDenied("reserved"))
    assert sit_again(seated, GRID, grid.take) is None
    assert grid.asked == [2, 1, 4]


def test_sitting_again_when_all_are_refused_says_why(seated: PlaceWish) -> None:
    """What the last refusal said; a failure that is no refusal ends it at once."""
    no = PermissionDenied("in request mode")
    assert sit_again(seated, GRID, Grid(seat_1=no, seat_2=no, seat_4=no).take) is no
    assert isinstance(sit_again(seated, SeatGrid(1, seats=(Seat(0, "host"),)), Grid().take), Conflict)
    late, grid = DeadlineExceeded("late"), Grid(seat_2=DeadlineExceeded("late"))
    assert str(sit_again(seated, GRID, grid.take)) == str(late)
    assert grid.asked == [2]


def test_sitting_again_when_it_was_left_meanwhile_asks_for_nothing(seated: PlaceWish) -> None:
    """The program's word is newer."""
    seated.drop()
    grid = Grid()
    assert sit_again(seated, GRID, grid.take) is None
    assert grid.asked == []
