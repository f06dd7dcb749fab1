"""Every public method of every object of the SDK, with arguments that may be right.

Owns: `Cast`, the objects, all of them in real rooms, and `Method`, one method of one of them. What is public is
found by looking: a new method is called too, and one with an argument that nobody thought of here fails.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from media_rooms import MediaRoom
from people import People

from utdstream import UTDAudioRoomSession, UTDLiveStreamSession, UTDStreamException, UTDStreamType
from utdstream.observe import Signal, Watched

ENDS = ("end", "leave", "disconnect", "dispose", "close")
"""After these an object is in no room, or can be used no more."""
STALLED_S = 15.0
"""A call that takes so long beyond its timeout is taken for a deadlock."""
TIMEOUTS_S = {0.0: 8, 0.001: 8, 0.02: 4, 0.3: 0.3}
"""And how often each is given. Short, mostly: what waits for what does not come takes all of it."""
ROOMS_ANEW = 0.06
"""Of what is made anew: a join takes a hundred times as long as a session of calls."""


@dataclass
class Outcome:
    method: str
    error: BaseException | None
    late_s: float

    @property
    def fault(self) -> str | None:
        """What may not be: an error that is not the SDK's, or a call that does not return."""
        if self.error is not None and not isinstance(self.error, UTDStreamException):
            return f"{self.method}: {self.error!r}"
        return f"{self.method}: {self.late_s:.1f} s late" if self.late_s > STALLED_S else None


class Cast:
    """One object of each kind; `renew` makes those anew that were ended."""

    def __init__(self, people: People, hall: MediaRoom) -> None:
        self.door, self.house = people("door"), people("house")
        self.hall = hall
        self.names = (self.house.identity, "nobody")
        self.inbox = self.house.inbox()
        self.call = self.door.call()
        self.talk = self.house.call()
        self.inbox.ringing.subscribe(lambda ring: None)
        self.client = self.door.client
        self.stream, self.seats, self.room = self._stream(), self._seats(), hall.join("third")

    def begin_call(self) -> None:
        """Has the first session call the second one, which answers."""
        made = self.call.start(callee_identity=self.house.identity)
        self.talk.accept(made.call_id)

    def objects(self) -> dict[str, object]:
        return {
            "call": self.call,
            "talk": self.talk,
            "stream": self.stream,
            "seats": self.seats,
            "room": self.room,
            "inbox": self.inbox,
            "client": self.client,
        }

    def _stream(self) -> UTDLiveStreamSession:
        return self.client.join_live_stream(identity=self.door.identity, room_name="every-show", as_host=True)

    def _seats(self) -> UTDAudioRoomSession:
        return self.client.join_audio_room(
            identity=self.door.identity, room_name="every-lobby", as_host=True, seat_count=4
        )

    def renew(self, chance: random.Random) -> None:
        """Makes a call session anew, seldom a room, as a program does after a `dispose`."""
        if chance.random() < ROOMS_ANEW:
            self._renew_a_room(chance)
        elif chance.random() < 0.5:
            self.call = self.door.client.call_session(chance.choice(CALL_TYPES))
        else:
            self.talk = self.house.client.call_session(chance.choice(CALL_TYPES))

    def _renew_a_room(self, chance: random.Random) -> None:
        """Whatever the others do meanwhile: a join that fails leaves the old one."""
        with contextlib.suppress(UTDStreamException):
            match chance.choice(("stream", "seats", "room")):
                case "stream":
                    self.stream.dispose()
                    self.stream = self._stream()
                case "seats":
                    self.seats.dispose()
                    self.seats = self._seats()
                case _:
                    self.room.dispose()
                    self.room = self.hall.join("third")

    def arguments(self, chance: random.Random) -> dict[str, Callable[[], object]]:
        """Something for each name of a parameter that must be given."""
        call_id = self.call.call_id.value or "call_0123456789abcdef01234567"
        return {
            "call_id": lambda: chance.choice((call_id, "call_0", "")),
            "id": lambda: chance.randint(0, 3),
            "request_id": lambda: chance.randint(0, 3),
            "index": lambda: chance.randint(-1, 4),
            "identity": lambda: chance.choice(self.names),
            "callee_identity": lambda: chance.choice(self.names),
            "callee_identities": lambda: list(self.names),
            "enabled": lambda: chance.random() < 0.5,
            "data": lambda: b"x" * chance.choice((0, 1, 1000, 20_000)),
            "url": lambda: chance.choice((self.hall.url, "ws://127.0.0.1:1", "x")),
            "token": lambda: self.hall.token(f"guest-{chance.randint(0, 9)}"),
            "type": lambda: chance.choice((*CALL_TYPES, UTDStreamType.AUDIO_ROOM)),
            "room_name": lambda: chance.choice(("every-show", "every-lobby", "", "by-role")),
            "callback": lambda: lambda _: None,
            "value_or_predicate": lambda: chance.choice((True, None, lambda _: chance.random() < 0.5)),
        }


CALL_TYPES = (UTDStreamType.AUDIO_CALL, UTDStreamType.VIDEO_CALL)


@dataclass(frozen=True)
class Method:
    """A method of one object, by their names: the object may be another one at the next call."""

    of: str
    path: str

    def call(self, cast: Cast, chance: random.Random) -> Outcome:
        """Calls it; whatever it raises is kept."""
        target: Any = cast.objects()[self.of]
        timeout = chance.choices([*TIMEOUTS_S], [*TIMEOUTS_S.values()])[0]
        began, error = time.monotonic(), None
        try:
            for part in self.path.split("."):
                target = getattr(target, part)
            parameters = inspect.signature(target).parameters
            supply = cast.arguments(chance)
            given: dict[str, object] = {
                name: supply[name]()
                for name, one in parameters.items()
                if one.default is inspect.Parameter.empty
            }
            if "timeout" in parameters:
                given["timeout"] = timeout
            answer = target(**given)
            if inspect.isgenerator(answer) or isinstance(answer, Iterator):
                _take_one(answer, has_timeout="timeout" in parameters)
        except BaseException as raised:  # noqa: BLE001 - what is looked for is the untyped one
            error = raised
        return Outcome(f"{self.of}.{self.path}", error, time.monotonic() - began - timeout)


def _take_one(frames: Any, *, has_timeout: bool) -> None:
    if has_timeout:
        list(islice(frames, 1))
    if hasattr(frames, "close"):
        frames.close()


def methods_of(cast: Cast) -> list[Method]:
    """All methods of all objects, and those of the facts and signals that they show."""
    found = []
    for name, subject in cast.objects().items():
        for attribute in dir(type(subject)):
            if not attribute.startswith("_") and inspect.isfunction(getattr(type(subject), attribute)):
                found.append(Method(name, attribute))
        for shown in watched_of(subject):
            waits = "wait" if isinstance(getattr(subject, shown), Signal) else "wait_for"
            found += [Method(name, f"{shown}.{waits}"), Method(name, f"{shown}.subscribe")]
    return found


def watched_of(subject: object) -> list[str]:
    """The names of the facts and signals that an object shows."""
    return [
        name
        for name in dir(subject)
        if not name.startswith("_") and isinstance(getattr(subject, name, None), (Watched, Signal))
    ]
