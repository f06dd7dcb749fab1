"""How much one key holds at a time: broker logins, open calls, rooms, event streams.

Owns: `Quotas`. Runs on the loop thread. Counted is the key that somebody came with, or, with the open key, the
address, never what the asker says of itself. What is over is known to the store and to the streams; what a key
holds is known since the start of the engine, but for logins, which the store knows by key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from utdstream.engine.api.limits import MAX_KEYS
from utdstream.engine.api.request import Ask
from utdstream.engine.config import LimitsSection
from utdstream.engine.push.call_events import Reader
from utdstream.engine.rules.keys import Login
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import Store

T = TypeVar("T", bound=Hashable)
AGAIN_S = 10.0


@dataclass(slots=True)
class _Held(Generic[T]):
    things: set[T] = field(default_factory=set)
    coming: int = 0


class Holdings(Generic[T]):
    """What each holder holds, `most` things at a time (None: any number); `is_held` says what is over."""

    def __init__(self, most: int | None, what: str, is_held: Callable[[T], bool]) -> None:
        self._most = most
        self._what = what
        self._is_held = is_held
        self._of: OrderedDict[Hashable, _Held[T]] = OrderedDict()

    @contextmanager
    def one_more(self, holder: Hashable | None) -> Iterator[Callable[[T], None]]:
        """Keeps a place for what is being made, and takes it then. Holder None: unlimited.

        Raises: Refusal (`limit_reached`).
        """
        if holder is None or self._most is None:
            yield lambda thing: None
            return
        held = self._of.setdefault(holder, _Held())
        self._of.move_to_end(holder)
        while len(self._of) > MAX_KEYS:
            self._of.popitem(last=False)
        held.things -= {thing for thing in held.things if not self._is_held(thing)}
        if len(held.things) + held.coming >= self._most:
            raise full(self._most, self._what)
        held.coming += 1
        try:
            yield held.things.add
        finally:
            held.coming -= 1


class Quotas:
    """The holdings of every key and address."""

    def __init__(self, limits: LimitsSection, store: Store) -> None:
        self._store = store
        self._logins_each = limits.logins_each if limits.enabled else None

        def most(count: int) -> int | None:
            return count if limits.enabled else None

        self.calls = Holdings[str](most(limits.open_calls_each), "open calls", self._is_open)
        self.rooms = Holdings[str](
            most(limits.rooms_each), "rooms", lambda name: store.rooms.get(name) is not None
        )
        self.streams = Holdings[Reader](
            most(limits.event_streams_each), "event streams", lambda reader: not reader.closed.is_set()
        )
        self._logins = Holdings[Login](self._logins_each, "broker logins", self._is_known)

    def check_login(self, ask: Ask, login: Login) -> None:
        """Raises: Refusal (`limit_reached`) when this would be a new login and one too many."""
        if self._logins_each is None or ask.counted_as is None or self._is_known(login):
            return
        if ask.asker.key is None:
            with self._logins.one_more(ask.counted_as) as keep:
                keep(login)
        elif len(self._store.logins.of(key_id=login.key_id)) >= self._logins_each:
            raise full(self._logins_each, "broker logins")

    def _is_open(self, call_id: str) -> bool:
        record = self._store.calls.get(call_id)
        return record is not None and record.is_open

    def _is_known(self, login: Login) -> bool:
        return bool(self._store.logins.of(identity=login.identity, key_id=login.key_id))


def full(most: int, what: str) -> Refusal:
    """The refusal of one more."""
    return Refusal(
        "limit_reached",
        f"This app key (or address) has {most} {what} already; end one, or have the engine's limit raised",
        retry_after_s=AGAIN_S,
    )
