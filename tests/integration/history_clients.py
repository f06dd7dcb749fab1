"""The clients of a recorded history: each does random things in rooms and calls, one after the other.

Owns: what is asked for and how often, and the rooms of it. What the answers must be is in `history_model`.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine_site import Asker
from history import LOST, Operation, Recorder, Wish, run_clients
from history_check import check_calls, check_room
from history_model import RoomModel

from utdstream._wire import routes

CLIENTS = 32
CALLERS_IN_A_GROUP = 4
GROUPS = CLIENTS // CALLERS_IN_A_GROUP
SEATS = 6
NAMES = [f"client-{number:02d}" for number in range(CLIENTS)]


class Asks(Protocol):
    """What a client asks through: a `Wire` with its credentials, or one that sees to them."""

    def ask(self, wish: Wish) -> tuple[float, float, int | None, dict[str, Any]]: ...

    def close(self) -> None: ...


@dataclass
class Arena:
    """A room of the history. Everybody but `stranger` was admitted."""

    name: str
    first: RoomModel
    first_rev: int
    admin: str
    stranger: str
    requests: deque[int] = field(default_factory=lambda: deque([1], 4))
    """Numbers of requests that somebody was told lately."""
    invitations: deque[tuple[int, str]] = field(default_factory=lambda: deque([(1, "")], 6))
    """The same of invitations, with whom they are for."""


def arena(server: Asker, number: int) -> Arena:
    """A live stream, or an audio room with free seats or seats on request."""
    kind = ("live_stream", "audio_room", "audio_room")[number % 3]
    mode = ("free", "request")[number % 2]
    name = f"arena-{number}"
    owner, admin, stranger = (NAMES[(number * 3 + part) % CLIENTS] for part in range(3))
    grid = {"seat_count": SEATS, "seat_mode": mode} if kind == "audio_room" else {}
    for who in [owner, *(one for one in NAMES if one not in (owner, stranger))]:
        role = {"role": "host", **grid} if who == owner else {"role": "admin"} if who == admin else {}
        answer = server.ask("POST", routes.TOKEN, {"identity": who, "room_name": name, "type": kind, **role})
        assert answer.status_code == 200, answer.text
    is_live = kind == "live_stream"
    path = routes.stage(name) if is_live else routes.seats(name)
    first = RoomModel(
        owner=owner,
        admitted=frozenset(NAMES) - {stranger},
        seats=() if is_live else ((None, False),) * SEATS,
        mode="free" if is_live else mode,
        roles=frozenset({(admin, "admin")}),
        is_live=is_live,
    )
    return Arena(name, first, server.ask("GET", path).json()["rev"], admin, stranger)


def second(name: str) -> str:
    """The second name that a client calls under: twice as many callers, not more at one moment."""
    return f"{name}-too"


class Crowd:
    """All the clients of a run. `wire_of` gives a name its wire, `server` one of the project's own."""

    def __init__(
        self, arenas: list[Arena], seed: str, wire_of: Callable[[str], Asks], server: Callable[[], Asks]
    ) -> None:
        self.recorder = Recorder()
        self._arenas = arenas
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        boards = [deque[str](maxlen=6) for _ in range(GROUPS)]
        self._clients = [
            Client(
                number, seed, {who: wire_of(who) for who in (name, second(name))}, server(), arenas,
                boards[number // CALLERS_IN_A_GROUP], self.recorder,
            )
            for number, name in enumerate(NAMES)
        ]  # fmt: skip

    def start(self) -> None:
        self._threads = run_clients(
            [lambda client=client: client.run(self._stop) for client in self._clients]
        )

    def stop(self) -> None:
        """Each ends what it is doing. Idempotent."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def room_violations(self, operations: Sequence[Operation]) -> list[str]:
        """What no order of these explains in one of the rooms."""
        found = []
        for place in self._arenas:
            in_it = [op for op in operations if op.place == place.name]
            found += check_room(place.first, place.first_rev, in_it)
        return found

    def call_violations(self, operations: Sequence[Operation]) -> list[str]:
        """What no order of these explains in a group of people who call each other."""
        found = []
        for group in range(GROUPS):
            found += check_calls([op for op in operations if op.place == f"group-{group}"])
        return found


class Client:
    """One person who does random things, one after the other; `wires` has the name and the second one."""

    def __init__(
        self,
        number: int,
        seed: str,
        wires: Mapping[str, Asks],
        server: Asks,
        arenas: list[Arena],
        board: deque[str],
        recorder: Recorder,
    ) -> None:
        self.name = NAMES[number]
        self._dice = random.Random(f"{seed}-{number}")
        self._wires = wires
        self._server = server
        self._arenas = arenas
        group = number // CALLERS_IN_A_GROUP
        self._group = f"group-{group}"
        members = NAMES[group * CALLERS_IN_A_GROUP : (group + 1) * CALLERS_IN_A_GROUP]
        self._others = [*members, *(second(name) for name in members)]
        self._board = board
        self._recorder = recorder
        self._keys = 0
        self._seated: set[str] = set()
        """The rooms in which this client was on a seat, when it was last told."""
        self._own = next((one for one in arenas if self.name in (one.first.owner, one.admin)), None)

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                if self._dice.random() < 0.2:
                    self._call()
                else:
                    is_at_home = self._own is not None and self._dice.random() < 0.5
                    self._in_room(self._own if self._own and is_at_home else self._dice.choice(self._arenas))
        finally:
            for wire in self._wires.values():
                wire.close()
            self._server.close()

    # --- rooms

    def _in_room(self, arena: Arena) -> None:
        kind = self._kind(arena)
        args = self._args(arena, kind)
        actor: str | None = self.name
        if kind in _MODERATION and self._dice.random() < 0.1:
            actor = None
        op = self._do(arena.name, kind, actor, args, _room_wish(arena.name, kind, args))
        if "invitation_id" in op.answer and kind == "invite":
            arena.invitations.append((op.answer["invitation_id"], args["target_identity"]))
        elif "request_id" in op.answer and kind == "request":
            arena.requests.append(op.answer["request_id"])
        if (op.is_done and kind in ("take", "move")) or (op.code == "already_seated" and kind != "invite"):
            self._seated.add(arena.name)
        elif kind == "leave" or (op.code == "not_seated" and kind == "move"):
            self._seated.discard(arena.name)

    def _kind(self, arena: Arena) -> str:
        is_moderator = self.name in (arena.first.owner, arena.admin)
        if self._dice.random() < (0.7 if is_moderator else 0.05):
            kinds = _STAGE_MODERATION if arena.first.is_live else _SEAT_MODERATION
        elif arena.first.is_live:
            kinds = _STAGE_KINDS
        elif self._dice.random() < 0.1:
            kinds = _SEAT_KINDS
        elif arena.name in self._seated:
            kinds = {"leave": 3, "move": 3}
        elif arena.first.mode == "free":
            kinds = {"take": 5, "accept": 2, "get_seats": 1}
        else:
            kinds = {"request": 3, "accept": 4, "cancel": 1, "get_seats": 1}
        return self._dice.choices(list(kinds), list(kinds.values()))[0]

    def _args(self, arena: Arena, kind: str) -> dict[str, Any]:
        dice = self._dice
        if kind in ("take", "kick", "lock", "unlock", "mute", "unmute"):
            return {"index": dice.randrange(SEATS + 1)}
        if kind == "move":
            return {"target_seat": dice.randrange(SEATS + 1)}
        if kind == "swap":
            return {"seat_a": dice.randrange(SEATS + 1), "seat_b": dice.randrange(SEATS)}
        if kind == "set_up":
            mode = arena.first.mode if dice.random() < 0.8 else dice.choice(("free", "request"))
            return {"seat_count": dice.choice((SEATS - 1, SEATS, SEATS, SEATS + 2)), "seat_mode": mode}
        if kind in ("approve", "reject"):
            return {"id": dice.choice(list(arena.requests))}
        if kind in ("accept", "decline"):
            known = list(arena.invitations)
            mine = [row for row in known if row[1] == self.name]
            return {"id": dice.choice(mine if mine and dice.random() < 0.9 else known)[0]}
        if kind == "invite":
            seat = dice.choice((None, None, *range(SEATS + 1)))
            return {"target_identity": dice.choice(NAMES)} | ({} if seat is None else {"seat_index": seat})
        if kind in ("invite_stage", "remove_stage"):
            return {"target_identity": dice.choice(NAMES)}
        if kind == "change_role":
            return {
                "target": dice.choice(NAMES),
                "role": dice.choice(("audience", "guest", "admin", "visitor")),
            }
        return {}

    # --- calls

    def _call(self) -> None:
        dice = self._dice
        caller = dice.choice(list(self._wires))
        if not self._board or dice.random() < 0.3:
            favourite = self._others[0]  # rung by so many at once that not all of them have a place
            callee = dice.choice([other for other in self._others if other != caller])
            if dice.random() < 0.6 and favourite != caller:
                callee = favourite
            key = None
            if dice.random() < 0.5:
                self._keys += dice.random() < 0.7
                key = f"{caller}-{self._keys}"
            op = self._create(caller, callee, key)
            if key is not None and (op.status is LOST or dice.random() < 0.2):
                self._create(caller, callee, key)
            return
        call_id = dice.choice(list(self._board))
        kind = dice.choice(("ring", "ring", "accept", "accept", "reject", "busy", "end", "end", "get"))
        args = {"call_id": call_id}
        headers = {}
        if kind == "accept" and dice.random() < 0.5:
            args["key"] = headers[routes.HEADER_IDEMPOTENCY_KEY] = f"accept-{caller}"
        wish: Wish = ("GET", routes.call(call_id), None, {})
        if kind != "get":
            action = {"ring": "ringing"}.get(kind, kind)
            wish = ("POST", routes.call_action(call_id, action), {}, headers)
        self._do(self._group, kind, caller, args, wish)

    def _create(self, caller: str, callee: str, key: str | None) -> Operation:
        headers = {} if key is None else {routes.HEADER_IDEMPOTENCY_KEY: key}
        body = {"callee_identity": callee, "type": "audio_call"}
        op = self._do(
            self._group,
            "create",
            caller,
            {"callee": callee, "key": key},
            ("POST", routes.CALLS, body, headers),
        )
        if op.is_done:
            self._board.append(str(op.answer["call_id"]))
        return op

    def _do(self, place: str, kind: str, actor: str | None, args: Mapping[str, Any], wish: Wish) -> Operation:
        wire = self._server if actor is None else self._wires[actor]
        sent, answered, status, answer = wire.ask(wish)
        op = Operation(place, kind, actor, args, sent, answered, status, answer)
        self._recorder.add(op)
        return op


_SEAT_KINDS = {
    "take": 5, "leave": 3, "move": 3, "request": 3, "cancel": 1, "accept": 3, "decline": 1, "get_seats": 2,
}  # fmt: skip
_SEAT_MODERATION = {
    "kick": 4, "lock": 1, "unlock": 3, "mute": 2, "unmute": 2, "swap": 3, "approve": 6, "reject": 1,
    "invite": 6, "set_up": 1, "change_role": 1,
}  # fmt: skip
_STAGE_KINDS = {"ask_stage": 1, "leave_stage": 3, "get_stage": 1}
_STAGE_MODERATION = {"invite_stage": 5, "remove_stage": 2, "change_role": 3}
_MODERATION = {*_SEAT_MODERATION, *_STAGE_MODERATION}


def _room_wish(room: str, kind: str, args: Mapping[str, Any]) -> Wish:
    """The request of an operation on a room."""
    body = {name: value for name, value in args.items() if name not in ("index", "id", "target")}
    if kind in ("take", "kick", "lock", "unlock", "mute", "unmute"):
        return "POST", routes.seat_action(room, args["index"], kind), body, {}
    if kind in ("leave", "move", "swap", "set_up"):
        return "POST", routes.seats_action(room, kind.replace("set_up", "setup")), body, {}
    if kind in ("approve", "reject"):
        return "POST", routes.speaker_request(room, args["id"], kind), body, {}
    if kind in ("accept", "decline"):
        return "POST", routes.speaker_invitation(room, args["id"], kind), body, {}
    if kind in ("request", "cancel"):
        return "DELETE" if kind == "cancel" else "POST", routes.speakers(room, "request"), body, {}
    if kind == "invite":
        return "POST", routes.speakers(room, "invite"), body, {}
    if kind == "change_role":
        return "PUT", routes.participant_action(room, args["target"], "role"), body, {}
    if kind in ("get_seats", "get_stage"):
        return "GET", routes.seats(room) if kind == "get_seats" else routes.stage(room), None, {}
    action = {"ask_stage": "request"}.get(kind, kind.removesuffix("_stage"))
    return "POST", routes.stage_action(room, action), body, {}


KINDS = {
    *_SEAT_KINDS, *_SEAT_MODERATION, *_STAGE_KINDS, *_STAGE_MODERATION,
    "create", "ring", "accept", "reject", "busy", "end", "get",
}  # fmt: skip
