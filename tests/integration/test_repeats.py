"""Every operation of the engine that changes something, asked again with its key because it was lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from between import Between
from engine_site import Asker, Site, fresh
from people import People

from utdstream import Devices
from utdstream._wire import routes
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.operations.table import Operation
from utdstream.synthetic import ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

FRESH_EACH_TIME = {"token", "user_token"}
"""What an answer holds beside what was done: a repeat brings a newer one."""
INVITATIONS = 30
"""More than requests and invitations are made here."""
CHANGES = {operation.id: operation for operation in OPERATIONS if operation.changes}


@dataclass(frozen=True)
class Wish:
    """One request that would succeed now."""

    asker: Asker
    body: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, str | int] = field(default_factory=dict)


class World:
    """An audio room and a live stream with people in them, and what it takes to make each request possible."""

    def __init__(self, stack: LocalStack, people: People, site: Site) -> None:
        self._people, self._site = people, site
        self.server = site.server()
        self.stack = stack
        self.room, self.stream = (fresh(name).partition("/")[0] for name in ("room", "stream"))
        self.host = self._in_room("host", as_host=True)
        self.guest, self.other = self._in_room("guest"), self._in_room("other")
        self.star = self._in_stream("star", as_host=True)
        self.viewer = self._in_stream("viewer")
        self.phone, self.house = site.person(fresh("phone")), site.person(fresh("house"))

    def _in_room(self, name: str, *, as_host: bool = False) -> Asker:
        person = self._people(name, Devices(microphone=ToneMicrophone()))
        person.client.join_audio_room(
            identity=person.identity, room_name=self.room, as_host=as_host, seat_count=6 if as_host else None
        )
        return self._site.person(person.identity)

    def _in_stream(self, name: str, *, as_host: bool = False) -> Asker:
        person = self._people(name, Devices())
        person.client.join_live_stream(identity=person.identity, room_name=self.stream, as_host=as_host)
        return self._site.person(person.identity)

    def do(self, id: str, asker: Asker, body: Mapping[str, object] | None = None, **values: str | int) -> Any:
        """Asks an operation without more ado; a refusal is fine: it was so already."""
        operation = next(one for one in OPERATIONS if one.id == id)
        path = routes.at(operation.path, **{"room": self.room, **values})
        return asker.ask(operation.method, path, dict(body or {})).json()

    # -- what stands before a request ------------------------------------------------------------

    def seated(self, asker: Asker, index: int) -> None:
        self.do("set_up_seats", self.host, {"seat_mode": "free"})
        self.do("unmute_seat", self.host, index=index)
        self.do("leave_seat", asker)
        self.do("unlock_seat", self.host, index=index)
        self.do("take_seat", asker, index=index)

    def told(self) -> tuple[object, list[str], list[str]]:
        """What everybody may read: seats, requests, the stage; and which calls are open."""
        seats, stage = self.do("get_seats", self.host), self.do("get_stage", self.star, room=self.stream)
        calls = self.do("list_calls", self.house)["data"]
        open_calls = [
            call["call_id"] for call in calls if call["status"] in ("initiating", "ringing", "active")
        ]
        return {**seats, "rev": 0}, sorted(member["identity"] for member in stage["members"]), open_calls

    def standing(self) -> None:
        for invitation in range(1, INVITATIONS):
            self.do("decline_to_speak", self.guest, invitation_id=invitation)
        self.do("leave_seat", self.guest)
        self.do("cancel_request_to_speak", self.guest)

    def hands_wanted(self) -> None:
        """Seats are asked for; `seated` lets them be taken again."""
        self.standing()
        self.do("set_up_seats", self.host, {"seat_mode": "request"})

    def asked(self) -> int:
        self.hands_wanted()
        return int(self.do("request_to_speak", self.guest)["request_id"])

    def invited(self) -> int:
        self.standing()
        made = self.do("invite_to_speak", self.host, {"target_identity": self.guest.identity})
        assert "invitation_id" in made, made
        return int(made["invitation_id"])

    def on_stage(self, *, wanted: bool) -> None:
        target = {"target_identity": self.viewer.identity}
        self.do("invite_to_stage" if wanted else "remove_from_stage", self.star, target, room=self.stream)

    def rung(self) -> dict[str, str | int]:
        for call in self.do("list_calls", self.house)["data"]:
            self.do("end", self.phone, call_id=call["call_id"])
        made = self.do(
            "create_call", self.phone, {"callee_identity": self.house.identity, "type": "audio_call"}
        )
        return {"call_id": made["call_id"]}


def on_guest(world: World, body: Mapping[str, object] | None = None) -> Wish:
    return Wish(world.host, body or {}, {"identity": world.guest.identity})


def on_seat(world: World, *, taken: bool = False, **first: int) -> Wish:
    if taken:
        world.seated(world.guest, 1)
    for action, index in first.items():
        world.do(action, world.host, index=index)
    return Wish(world.host, values={"index": 1})


def by_guest(world: World, ready: Callable[[], object], **body: object) -> Wish:
    ready()
    return Wish(world.guest, body, {"index": 1})


def role(world: World) -> Wish:
    world.do("change_role", world.host, {"role": "audience"}, identity=world.guest.identity)
    return on_guest(world, {"role": "admin"})


def banned(world: World, *, first: bool) -> Wish:
    body = {"identity": fresh("stranger"), "room_name": world.room}
    if first:
        world.do("ban", world.host, body)
    return Wish(world.host, body)


def key_of(world: World) -> dict[str, str | int]:
    made = world.do("add_key", world.server, {"identity": fresh("kiosk")})
    return {"key_id": made["key_id"]}


def code_of(world: World) -> dict[str, str | int]:
    made = world.do("offer_pairing", world.server, {"identity": fresh("handset")})
    return {"pairing_id": made["pairing_id"]}


def removed(world: World) -> Wish:
    return Wish(world.host, values={"identity": world._in_room("leaver").identity})


def closed(world: World) -> Wish:
    owner = world._people("owner", Devices())
    name = f"room-of-{owner.identity}"
    owner.client.join_audio_room(identity=owner.identity, room_name=name, as_host=True, seat_count=1)
    return Wish(world._site.person(owner.identity), values={"room": name})


def on_stage(world: World, asker: Asker, *, wanted: bool) -> Wish:
    world.on_stage(wanted=wanted)
    body = {"target_identity": world.viewer.identity} if asker is world.star else {}
    return Wish(asker, body, {"room": world.stream})


def called(world: World) -> Wish:
    world.rung()
    return Wish(world.phone, {"callee_identity": world.house.identity, "type": "audio_call"})


ROWS: dict[str, Callable[[World], Wish]] = {
    "create_call": called,
    **{
        id: lambda world: Wish(world.house, values=world.rung())
        for id in ("ringing", "accept", "reject", "busy")
    },
    "end": lambda world: Wish(world.phone, values=world.rung()),
    "set_up_seats": lambda world: Wish(world.host, {"seat_count": 6}),
    "take_seat": lambda world: by_guest(world, world.standing),
    "leave_seat": lambda world: by_guest(world, lambda: world.seated(world.guest, 1)),
    "move_seat": lambda world: by_guest(world, lambda: world.seated(world.guest, 1), target_seat=2),
    "swap_seats": lambda world: (
        world.seated(world.guest, 1),
        world.seated(world.other, 2),
        Wish(world.host, {"seat_a": 1, "seat_b": 2}),
    )[-1],
    "kick_from_seat": lambda world: on_seat(world, taken=True),
    "lock_seat": lambda world: on_seat(world, unlock_seat=1),
    "unlock_seat": lambda world: on_seat(world, lock_seat=1),
    "mute_seat": lambda world: on_seat(world, taken=True),
    "unmute_seat": lambda world: on_seat(world, taken=True, mute_seat=1),
    "request_to_speak": lambda world: by_guest(world, world.hands_wanted),
    "cancel_request_to_speak": lambda world: by_guest(world, world.asked),
    "approve_speaker": lambda world: Wish(world.host, values={"request_id": world.asked()}),
    "reject_speaker": lambda world: Wish(world.host, values={"request_id": world.asked()}),
    "invite_to_speak": lambda world: (
        by_guest(world, world.standing) and Wish(world.host, {"target_identity": world.guest.identity})
    ),
    "accept_to_speak": lambda world: Wish(world.guest, values={"invitation_id": world.invited()}),
    "decline_to_speak": lambda world: Wish(world.guest, values={"invitation_id": world.invited()}),
    "invite_to_stage": lambda world: on_stage(world, world.star, wanted=False),
    "remove_from_stage": lambda world: on_stage(world, world.star, wanted=True),
    "request_stage": lambda world: on_stage(world, world.viewer, wanted=False),
    "leave_stage": lambda world: on_stage(world, world.viewer, wanted=True),
    "remove_participant": removed,
    "change_role": role,
    "permit": lambda world: on_guest(world, {"can_publish_data": True}),
    "mute": lambda world: (world.seated(world.guest, 1), on_guest(world, {"audio": True}))[-1],
    "set_participant_metadata": lambda world: on_guest(world, {"metadata": {"colour": "blue"}}),
    "forbid_stream": on_guest,
    "resume_stream": on_guest,
    "close_room": closed,
    "send_data": lambda world: Wish(world.host, {"data": "hello"}),
    "set_room_metadata": lambda world: Wish(world.host, {"metadata": {"topic": "cats"}}),
    "lock_comments": lambda world: Wish(world.host, {"locked": True}),
    "ban": lambda world: banned(world, first=False),
    "lift_ban": lambda world: banned(world, first=True),
    "add_key": lambda world: Wish(world.server, {"identity": fresh("kiosk")}),
    "revoke_key": lambda world: Wish(world.server, values=key_of(world)),
    "offer_pairing": lambda world: Wish(world.server, {"identity": fresh("handset")}),
    "withdraw_pairing": lambda world: Wish(world.server, values=code_of(world)),
    "withdraw": lambda world: Wish(world.host, {"idempotency_key": fresh("key")}),
}


@pytest.fixture
def world(stack: LocalStack) -> Iterator[World]:
    people, site = People(stack), Site(stack)
    yield World(stack, people, site)
    site.close()
    people.close()


def ask(url: str, world: World, operation: Operation, wish: Wish, key: str) -> requests.Response:
    path = routes.at(operation.path, **{"room": world.room, **wish.values})
    headers = {**wish.asker.headers, routes.HEADER_IDEMPOTENCY_KEY: key}
    body = json.dumps(dict(wish.body)).encode()
    return requests.request(operation.method, url + path, data=body, headers=headers, timeout=8)


def settled(answer: bytes) -> dict[str, object]:
    """What an answer says was done."""
    return {name: value for name, value in json.loads(answer).items() if name not in FRESH_EACH_TIME}


def test_table_when_an_operation_changes_something_has_a_row() -> None:
    """A new one fails here until it is lost below."""
    assert ROWS.keys() == CHANGES.keys()


def test_operation_when_it_is_lost_and_asked_again_is_done_once(world: World, between: Between) -> None:
    """Its request, then its answer: the repeat is answered as the first was, or would have been."""
    wrong: list[str] = []
    for id, operation in CHANGES.items():
        for lose in (between.lose_requests, between.lose_answers):
            wish = ROWS[id](world)
            key = fresh("key").partition("/")[0]
            between.pass_all()
            lose(routes.at(operation.path, **{"room": world.room, **wish.values}))
            with pytest.raises(requests.ConnectionError):
                ask(between.url, world, operation, wish, key)
            repeat = ask(world.stack.base_url, world, operation, wish, key)
            is_done = repeat.status_code in (operation.status, operation.replay_status)
            is_the_first = lose == between.lose_requests or settled(repeat.content) == settled(
                between.answers[-1]
            )
            if not (is_done and is_the_first):
                wrong.append(f"{lose.__name__} {id}: {repeat.status_code} {repeat.text[:120]}")
    assert not wrong, "\n".join(wrong)


def test_operation_when_every_answer_is_lost_and_it_is_withdrawn_is_not_done_and_may_be_asked_again(
    world: World, between: Between
) -> None:
    """Or it stands, as the reference says of it; then the key is answered as before."""
    wrong: list[str] = []
    for id, operation in CHANGES.items():
        wish, key = ROWS[id](world), fresh("key").partition("/")[0]
        before = world.told()
        between.pass_all()
        between.lose_answers(routes.at(operation.path, **{"room": world.room, **wish.values}))
        with pytest.raises(requests.ConnectionError):
            ask(between.url, world, operation, wish, key)
        outcome = world.do("withdraw", wish.asker, {"idempotency_key": key})["outcome"]
        after = world.told()
        repeat = ask(world.stack.base_url, world, operation, wish, key)
        if not operation.is_undone:
            is_right = outcome == "stands" and repeat.status_code in (operation.status, 200)
        else:
            is_right = outcome == "undone" and repeat.json().get("code") == "withdrawn"
            if id in ("create_call", "accept"):  # which ended the call before; nobody is left alone in one
                is_right = is_right and after == (*before[:2], [])
            else:
                is_right = is_right and after == before
            if id != "accept":
                again = ask(world.stack.base_url, world, operation, wish, f"{key}-again")
                is_right = is_right and again.status_code == operation.status
        if not is_right:
            wrong.append(f"{id}: {outcome}, {repeat.text[:90]}, {before} -> {after}")
    assert not wrong, "\n".join(wrong)


def test_request_when_its_key_is_withdrawn_before_it_arrives_is_refused(world: World) -> None:
    """And the key of another asker is another key."""
    body = {"idempotency_key": "early"}
    assert world.do("withdraw", world.guest, body)["outcome"] == "not_done"
    wish = Wish(world.host, values={"index": 3})
    locked = ask(world.stack.base_url, world, CHANGES["lock_seat"], wish, "early")
    assert locked.status_code == 200
    world.do("unlock_seat", world.host, index=3)
    assert world.do("withdraw", world.host, {"idempotency_key": "late"})["outcome"] == "not_done"
    late = ask(world.stack.base_url, world, CHANGES["lock_seat"], wish, "late")
    assert (late.status_code, late.json()["code"]) == (409, "withdrawn")


def test_decision_when_something_newer_was_decided_about_the_same_stands(world: World) -> None:
    """Locked, opened and locked again by another request: that one counts, whatever becomes of the first."""
    wish = Wish(world.host, values={"index": 3})
    assert ask(world.stack.base_url, world, CHANGES["lock_seat"], wish, "first").status_code == 200
    for action in ("unlock_seat", "lock_seat"):
        world.do(action, world.host, index=3)
    assert world.do("withdraw", world.host, {"idempotency_key": "first"})["outcome"] == "stands"
    assert world.do("get_seats", world.host)["seats"][3]["locked"]


def test_key_when_used_for_another_request_is_refused(world: World) -> None:
    """One stands for one request; without a key each request is its own."""
    for seat, status in ((3, 200), (4, 422)):
        wish = Wish(world.host, values={"index": seat})
        assert ask(world.stack.base_url, world, CHANGES["lock_seat"], wish, "one-key").status_code == status
    world.do("unlock_seat", world.host, index=3)
    kick = Wish(world.host, values={"index": 1})
    world.seated(world.guest, 1)
    answers = [
        ask(world.stack.base_url, world, CHANGES["kick_from_seat"], kick, key) for key in ("k1", "k2", "k1")
    ]
    assert [answer.status_code for answer in answers] == [200, 409, 200]
