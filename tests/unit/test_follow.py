"""Order and truth of a room's fact: metadata, messages and asking, in every order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from facts import eventually

from utdstream import SeatGrid
from utdstream._rooms.followed import Followed
from utdstream._threads.deadline import Deadline
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane, WorkLane
from utdstream._wire import codec
from utdstream.errors import EngineUnreachable


def grid(identity: str | None, rev: int | None = None) -> dict[str, object]:
    """A grid of one seat in the spelling of a message."""
    fields: dict[str, object] = {"count": 1, "mode": "free", "seats": [{"index": 0, "identity": identity}]}
    return fields if rev is None else fields | {"rev": rev}


def answer(identity: str | None, rev: int | None = None) -> dict[str, object]:
    """The same grid in the spelling of `GET /seats`."""
    fields: dict[str, object] = {
        "seat_count": 1,
        "seat_mode": "free",
        "seats": [{"seat_index": 0, "occupant_identity": identity, "locked": 0}],
    }
    return fields if rev is None else fields | {"rev": rev}


class Room:
    """A followed grid, an engine that answers when it is told to, and what subscribers saw."""

    def __init__(self) -> None:
        self.follows: Callable[[SeatGrid], None] = lambda _: None
        """What follows from a state."""
        self.lane = EventsLane("test-events")
        self.work = WorkLane("test-work")
        self.fact: Fact[SeatGrid] = Fact(SeatGrid(0), self.lane)
        self.seen: list[str | None] = []
        self.fact.subscribe(lambda change: self.seen.append(change.new.seats[0].identity))
        self.asked = 0
        self.says: codec.JsonObject = answer(None)
        self.asking = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.followed = Followed(
            self.fact,
            parse=codec.parse_seat_grid,
            ask=self._ask,
            work=self.work,
            poll_s=0.02,
            applied=lambda value: self.follows(value),
        )

    def _ask(self, deadline: Deadline) -> codec.JsonObject:
        self.asked += 1
        says = self.says
        self.asking.set()
        if not self.may_answer.wait(5):
            raise EngineUnreachable("the test never let the engine answer")
        return says

    def refresh(self) -> None:
        self.followed.refresh(Deadline(5, 5, "test"))

    @property
    def occupant(self) -> str | None:
        return self.fact.value.seats[0].identity

    def refresh_slowly(self) -> threading.Thread:
        """Asks now; the answer waits until `may_answer`."""
        self.may_answer.clear()
        thread = threading.Thread(target=self.refresh, name="test-asker")
        thread.start()
        assert self.asking.wait(5)
        return thread


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.may_answer.set()
    made.work.close()
    made.lane.close()


def test_grid_when_spelled_in_either_way_is_one(room: Room) -> None:
    """A message and an answer of the same state are equal, so the second does not notify."""
    room.followed.metadata(grid("anna", 1))
    room.says = answer("anna", 1)
    room.refresh()
    room.followed.metadata(grid("anna", 2))
    room.lane.close()
    assert room.seen == ["anna"]


def test_revision_when_older_changes_nothing(room: Room) -> None:
    """Whatever brings it."""
    room.followed.metadata(grid("anna", 7))
    room.followed.metadata(grid("bert", 6))
    room.says = answer("carl", 5)
    room.refresh()
    assert room.occupant == "anna"


def test_answer_when_asked_for_before_newer_news_is_thrown_away(room: Room) -> None:
    """Without revisions the generation decides: the question was older than the push."""
    room.says = answer("old")
    asker = room.refresh_slowly()
    room.followed.metadata(grid("new"))
    room.may_answer.set()
    asker.join(5)
    assert room.occupant == "new"


def test_answer_when_its_revision_is_newer_counts_although_news_came_meanwhile(room: Room) -> None:
    """With revisions the revision decides."""
    room.says = answer("newest", 9)
    asker = room.refresh_slowly()
    room.followed.metadata(grid("newer", 8))
    room.may_answer.set()
    asker.join(5)
    assert room.occupant == "newest"


def test_message_when_lost_is_mended_by_the_metadata(room: Room) -> None:
    """No message at all: the metadata alone is enough, and nobody is asked."""
    room.followed.metadata(grid("anna", 1))
    room.followed.metadata(grid(None, 2))
    assert room.occupant is None
    assert room.asked == 0


def test_message_when_alone_makes_the_engine_be_asked(room: Room) -> None:
    """A hint never counts by itself; the engine's answer does."""
    room.says = answer("true", 3)
    room.followed.hint(grid("forged", 99))
    eventually(lambda: room.asked == 1, "the engine was asked")
    eventually(lambda: room.fact.value.count == 1 and room.occupant == "true", "its answer counts")


def test_message_when_the_metadata_told_it_already_asks_nobody(room: Room) -> None:
    """The usual case: metadata first, then the message with the same revision."""
    room.followed.metadata(grid("anna", 4))
    room.followed.hint(grid("anna", 4))
    done = threading.Event()
    room.work.call_later(0.35, done.set)
    assert done.wait(5)
    assert room.asked == 0


def test_engine_when_silent_is_asked_until_it_pushes(room: Room) -> None:
    """Polling begins when nobody pushes and ends with the first push."""
    room.says = answer("asked")
    room.followed.poll_until_pushed(lambda: True)
    eventually(lambda: room.asked >= 3, "it is asked again and again")
    room.followed.metadata(grid("pushed"))
    asked = room.asked
    done = threading.Event()
    room.work.call_later(0.2, done.set)
    assert done.wait(5)
    assert room.asked <= asked + 1


def test_life_when_new_begins_its_revisions_anew(room: Room) -> None:
    """After a rejoin an engine that was restarted from a backup is believed."""
    room.followed.metadata(grid("before", 50))
    room.followed.forget()
    room.followed.metadata(grid("after", 2))
    assert room.occupant == "after"


def test_news_when_nonsense_change_nothing(room: Room) -> None:
    """Objects that hold no grid are no news."""
    room.followed.metadata(grid("anna", 1))
    for fields in ({}, {"seats": 7}, {"count": None, "seats": []}):
        room.followed.metadata(fields)
    assert room.occupant == "anna"


def test_what_follows_when_an_answer_and_a_push_come_at_once_comes_in_their_order(room: Room) -> None:
    """The answer's thread is slow: else its older state would be what stands in the end."""
    brought_about: list[str | None] = []
    is_slow, go_on = threading.Event(), threading.Event()

    def follows(value: SeatGrid) -> None:
        if value.seats[0].identity == "me":
            is_slow.set()
            go_on.wait(5)
        brought_about.append(value.seats[0].identity)

    room.follows = follows
    room.says = answer("me", rev=5)
    asker = threading.Thread(target=room.refresh)
    asker.start()
    assert is_slow.wait(5)
    loop = threading.Thread(target=lambda: room.followed.metadata(grid(None, rev=6)))
    loop.start()
    loop.join(0.2)  # it would be done by now, if it came first
    go_on.set()
    for thread in (asker, loop):
        thread.join(5)
    assert brought_about == ["me", None]
    assert room.occupant is None
