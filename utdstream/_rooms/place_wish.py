"""The seat or the place on stage that this participant wants, through every connection of its session.

Owns: `PlaceWish`, `sit_again`. Threads: any; the lock is held for one look or one change.

1. Who has a place wants it, until it is left, or taken away while the room is there: that is the host's word.
2. The engine gives the place of a participant who is away to others. What it says, asked after a connection that
   was lost or interrupted, decides whether it is to be asked for again; news before that may be old, and of
   a session before this one.
3. So may news that come after a place was given up, until they say that it is gone, or one is asked for anew: an
   interruption in between had a seat taken again that nobody wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from utdstream.errors import Conflict, NotFound, PermissionDenied, UTDStreamException
from utdstream.models import SeatGrid


class PlaceWish:
    """The wish for a seat, or for the stage (its only place is 0), of one session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._index: int | None = None
        self._is_unsure = False
        self._is_given_up = False

    @property
    def index(self) -> int | None:
        """The place that is wanted; None for a listener or viewer."""
        return self._index

    def begin(self) -> None:
        """Says that a connection begins, or was interrupted: what became of the place is not known."""
        with self._lock:
            self._is_unsure = True

    def drop(self) -> None:
        """Wants no place any more, whatever old news say (rule 3)."""
        with self._lock:
            self._index = None
            self._is_given_up = True

    def ask(self) -> None:
        """Says that a place is asked for: what news say from now on is wanted."""
        with self._lock:
            self._is_given_up = False

    def take_news(self, mine: int | None, *, here: bool) -> None:
        """Takes which place is the own one. `here`: the room is connected, so that it was the host who took it."""
        with self._lock:
            if mine is None:
                self._is_given_up = False
            if self._is_unsure:
                return
            if mine is None:
                self._index = None if here else self._index
            elif not self._is_given_up:
                self._index = mine

    def is_lost(self, mine: int | None) -> bool:
        """Takes what the engine answered; True when the place that is wanted went with the connection."""
        with self._lock:
            self._is_unsure = False
            if mine is not None and not self._is_given_up:
                self._index = mine
            return mine is None and self._index is not None


def sit_again(wish: PlaceWish, grid: SeatGrid, take: Callable[[int], object]) -> UTDStreamException | None:
    """Takes the seat that is wanted, else any free one. Returns why there is none, None when there is.

    Also None when none is wanted any more. Blocks: as `take` does.
    """
    refusal: UTDStreamException = Conflict("taking the seat again: others sit on all of them now")
    free = [seat.index for seat in grid.seats if seat.identity is None and not seat.locked]
    for index in sorted(free, key=lambda index: index != wish.index):
        if wish.index is None:
            return None
        try:
            take(index)
        except (Conflict, PermissionDenied, NotFound) as refused:
            refusal = refused
        except UTDStreamException as failure:
            return failure
        else:
            return None
    return refusal
