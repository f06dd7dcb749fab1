"""Seats, speakers, stage and roles: over REST, and as the media server sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from engine_site import Asker, Site, fresh, person_of, rooms_of
from facts import eventually, until_heard

from utdstream import Devices
from utdstream._session.room import UTDRoom
from utdstream._wire import codec, messages, routes
from utdstream.models import SeatGrid
from utdstream.synthetic import ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


class InRoom:
    """Somebody with a token of one room; `join` takes it to the media server."""

    def __init__(self, site: Site, room: str, type: str, identity: str, **mint: object) -> None:
        self.identity = identity
        self.room = room
        self.heard: list[messages.EngineMessage] = []
        self._changed = threading.Condition()
        self._site = site
        self._type = type
        self._media: UTDRoom | None = None
        self._asker = self._mint(**mint)

    def _mint(self, **fields: object) -> Asker:
        server = fields.pop("trusted", False)
        minter = self._site.server() if server else self._site.app()
        body = {"identity": self.identity, "room_name": self.room, "type": self._type, **fields}
        answer = minter.ask("POST", routes.TOKEN, body)
        assert answer.status_code == 200, answer.text
        self.minted = answer.json()
        return self._site.with_headers(Authorization=f"Bearer {self.minted['user_token']}")

    def remint(self, **fields: object) -> None:
        self._asker = self._mint(**fields)

    def join(self) -> InRoom:
        media = UTDRoom(devices=Devices(microphone=ToneMicrophone()))
        self._media = media
        media.messages.subscribe(self._hear)
        media.connect(self.minted["url"], self.minted["token"])
        probe = {"data": "are you there?", "destination_identities": [self.identity]}
        until_heard(
            media.messages, lambda: self._site.server().ask("POST", routes.send_data(self.room), probe)
        )
        return self

    @property
    def media(self) -> UTDRoom:
        assert self._media is not None
        return self._media

    def speak(self) -> None:
        self.media.can_publish.wait_for(True, timeout=5)
        self.media.set_microphone(True)

    def leave_media(self) -> None:
        if self._media is not None:
            self._media.dispose()
            self._media = None

    def _hear(self, message: object) -> None:
        found = messages.parse(message.data)  # type: ignore[attr-defined]
        if found is not None:
            with self._changed:
                self.heard.append(found)
                self._changed.notify_all()

    def wait_for(
        self, kind: str, fact: Callable[[codec.JsonObject], bool] = lambda _: True
    ) -> codec.JsonObject:
        def found() -> list[codec.JsonObject]:
            return [heard.fields for heard in self.heard if heard.type == kind and fact(heard.fields)]

        with self._changed:
            assert self._changed.wait_for(found, 5.0), f"no {kind} came; there are {self.heard}"
            return found()[-1]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        answer = self._asker.ask(method, path, body)
        return answer.status_code, answer.json()

    def do(self, path: str, method: str = "POST", **body: object) -> dict[str, object]:
        status, answer = self.ask(method, path, body)
        assert status == 200, answer
        return answer

    def refused(self, path: str, method: str = "POST", **body: object) -> str:
        status, answer = self.ask(method, path, body)
        assert status >= 400, answer
        return str(answer["code"])

    def seat(self, index: int, action: str = "take") -> dict[str, object]:
        return self.do(routes.seat_action(self.room, index, action))

    def grid(self) -> SeatGrid:
        grid = codec.parse_seat_grid(self.ask("GET", routes.seats(self.room))[1])
        assert grid is not None
        return grid

    def sources(self) -> list[str]:
        """What the media server lets this person publish."""
        person = person_of(self._site.stack, f"p{self._site.stack.app_id}_{self.room}", self.identity)
        permission = person.get("permission", {})
        assert isinstance(permission, dict)
        return sorted(permission.get("can_publish_sources", [])) if permission.get("can_publish") else []

    def may_publish(self, *sources: str) -> None:
        wanted = sorted(sources)
        eventually(lambda: self.sources() == wanted, f"{self.identity} may publish {wanted}")

    def tracks(self) -> list[dict[str, object]]:
        person = person_of(self._site.stack, f"p{self._site.stack.app_id}_{self.room}", self.identity)
        return person.get("tracks", [])  # type: ignore[return-value]


class Rooms:
    """Makes rooms and the people in them; closes what was joined."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._people: list[InRoom] = []

    def person(self, room: str, who: str = "ann", type: str = "audio_room", **mint: object) -> InRoom:
        made = InRoom(self.site, room, type, fresh(who), **mint)
        self._people.append(made)
        return made

    def metadata(self, room: str, key: str) -> codec.JsonObject | None:
        found = rooms_of(self.site.stack, f"p{self.site.stack.app_id}_{room}")
        return messages.parse_metadata(str(found[0].get("metadata", "")), key) if found else None

    def close(self) -> None:
        for person in self._people:
            person.leave_media()


@pytest.fixture
def made(stack: LocalStack) -> Iterator[Rooms]:
    site = Site(stack)
    rooms = Rooms(site)
    yield rooms
    rooms.close()
    site.close()


@pytest.fixture
def own_made(own_stack: LocalStack) -> Iterator[Rooms]:
    """On a stack that the test may break."""
    site = Site(own_stack)
    rooms = Rooms(site)
    yield rooms
    rooms.close()
    site.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A room name of this test alone."""
    return request.node.name[:100].replace("[", "-").replace("]", "")


def test_room_when_listed_says_how_many_are_in_it_now(made: Rooms, name: str) -> None:
    """Also in its first seconds, in which livekit-server counts nobody."""
    made.person(name, "host", role="host").join()
    made.person(name).join()
    server = made.site.server()
    assert server.ask("GET", routes.room(name)).json()["participant_count"] == 2
    listed = server.ask("GET", routes.ROOMS).json()["data"]
    assert [room["participant_count"] for room in listed if room["room_name"] == name] == [2]


# Seats.


def test_seat_when_taken_gives_the_microphone_and_leaving_takes_it(made: Rooms, name: str) -> None:
    """A seat gives the microphone and leaving takes it."""
    host = made.person(name, "host", role="host").join()
    ann = made.person(name, name="Ann 🎤").join()
    ann.may_publish()
    assert ann.seat(3) == {"ok": True, "seat_index": 3, "rev": ann.grid().rev}
    ann.may_publish("MICROPHONE")
    told = host.wait_for(messages.SEAT_UPDATE, lambda grid: _occupant(grid, 3) == ann.identity)
    assert codec.parse_seat_grid(told) == ann.grid()
    assert told["rev"] == ann.grid().rev
    assert ann.grid().seats[3].name == "Ann 🎤"
    assert made.metadata(name, messages.METADATA_SEATS) == {
        field: value for field, value in told.items() if field != "type"
    }
    moved = ann.do(routes.seats_action(name, "move"), target_seat=5)
    assert moved == {"ok": True, "from": 3, "to": 5, "rev": ann.grid().rev}
    assert ann.sources() == ["MICROPHONE"]
    left = ann.do(routes.seats_action(name, "leave"))
    assert left == {"ok": True, "seat_index": 5, "rev": ann.grid().rev}
    ann.may_publish()
    host.wait_for(messages.SEAT_UPDATE, lambda grid: _occupant(grid, 5) is None)


def test_speaker_when_kicked_is_silent_at_once(made: Rooms, name: str) -> None:
    """A speaker that is kicked is silent at once."""
    host = made.person(name, "host", role="host").join()
    ann = made.person(name)
    ann.seat(1)
    ann.join()
    ann.may_publish("MICROPHONE")
    ann.speak()
    eventually(lambda: len(ann.tracks()) == 1, "the microphone is published")
    assert ann.refused(routes.seat_action(name, 1, "kick")) == "forbidden"
    host.seat(1, "kick")
    ann.may_publish()
    eventually(lambda: not ann.tracks(), "the track is gone")
    assert host.refused(routes.seat_action(name, 1, "kick")) == "not_seated"


def test_speaker_when_muted_stays_muted(made: Rooms, name: str) -> None:
    """A muted speaker stays muted."""
    host = made.person(name, "host", role="host").join()
    ann = made.person(name)
    ann.seat(1)
    ann.join()
    ann.speak()
    eventually(lambda: [track.get("muted", False) for track in ann.tracks()] == [False], "it is heard")
    host.seat(1, "mute")
    eventually(lambda: [track.get("muted", False) for track in ann.tracks()] == [True], "it is muted")
    ann.leave_media()
    ann.remint()
    ann.join()
    ann.speak()
    eventually(lambda: [track.get("muted", False) for track in ann.tracks()] == [True], "it is muted again")


def test_host_when_minting_chooses_the_grid_once(made: Rooms, name: str) -> None:
    """The host's mint chooses the grid once."""
    ann = made.person(name)
    assert ann.grid().count == 8
    host = made.person(name, "host", role="host", seat_count=4, seat_mode="request", host_seat=2, mode_id="3")
    grid = host.grid()
    assert (grid.count, grid.mode, grid.mode_id) == (4, "request", "3")
    assert [seat.reserved_for for seat in grid.seats] == [None, None, host.identity, None]
    host.remint(role="host", seat_count=9, seat_mode="free")
    assert host.grid() == grid
    assert ann.refused(routes.seat_action(name, 1, "take")) == "seat_request_required"
    assert ann.refused(routes.seat_action(name, 2, "take")) == "seat_reserved"
    assert ann.refused(routes.seat_action(name, 4, "take")) == "seat_not_found"
    assert host.seat(2)["seat_index"] == 2


def test_set_up_when_done_tells_the_mode_and_takes_the_seats_that_go(made: Rooms, name: str) -> None:
    """A set up tells the mode and takes the seats that go."""
    host = made.person(name, "host", role="host").join()
    ann, bob = made.person(name, "ann"), made.person(name, "bob")
    ann.seat(1)
    bob.seat(7)
    bob.join()
    bob.may_publish("MICROPHONE")
    answer = host.do(routes.seats_action(name, "setup"), seat_count=3, mode_id="cinema")
    assert codec.parse_seat_grid(answer) == host.grid()
    assert [seat.identity for seat in host.grid().seats] == [None, ann.identity, None]
    bob.may_publish()
    assert host.wait_for(messages.MODE_CHANGE) == {
        "type": "_mode_change",
        "mode_id": "cinema",
        "seat_count": 3,
    }
    assert bob.refused(routes.seats_action(name, "setup"), seat_count=3) == "forbidden"


def test_request_and_invitation_when_agreed_to_give_a_seat(made: Rooms, name: str) -> None:
    """A request is approved and an invitation accepted."""
    host = made.person(name, "host", role="host", seat_mode="request").join()
    ann, bob = made.person(name, "ann", name="Ann").join(), made.person(name, "bob").join()
    asked = ann.do(routes.speakers(name, "request"))["request_id"]
    assert ann.refused(routes.speakers(name, "request")) == "request_pending"
    told = host.wait_for(messages.SPEAKER_REQUEST)
    assert (told["request_id"], told["identity"], told["name"]) == (asked, ann.identity, "Ann")
    listed = host.ask("GET", routes.speakers(name, "requests"))[1]["requests"]
    assert [row.identity for row in codec.parse_speak_requests(listed)] == [ann.identity]
    approved = host.do(routes.speaker_request(name, int(str(asked)), "approve"))
    assert approved == {
        "ok": True,
        "request_id": asked,
        "identity": ann.identity,
        "seat_index": 1,
        "rev": ann.grid().rev,
    }
    ann.may_publish("MICROPHONE")
    assert ann.wait_for(messages.SPEAKER_REQUEST_APPROVED)["seat_index"] == 1

    invited = host.do(routes.speakers(name, "invite"), target_identity=bob.identity, seat_index=4)
    number = int(str(invited["invitation_id"]))
    invitation = codec.parse_invitation(bob.wait_for(messages.SPEAKER_INVITATION))
    assert invitation is not None
    assert (invitation.id, invitation.inviter_identity, invitation.seat_index) == (number, host.identity, 4)
    assert ann.refused(routes.speaker_invitation(name, number, "accept")) == "forbidden"
    accepted = bob.do(routes.speaker_invitation(name, number, "accept"))
    assert accepted == {"ok": True, "invitation_id": number, "seat_index": 4, "rev": ann.grid().rev}
    bob.may_publish("MICROPHONE")
    assert host.wait_for(messages.SPEAKER_INVITATION_ACCEPTED)["target_identity"] == bob.identity


def test_participant_when_gone_leaves_seat_and_request(made: Rooms, name: str) -> None:
    """A participant that is gone leaves seat and request."""
    host = made.person(name, "host", role="host").join()
    ann, bob = made.person(name, "ann").join(), made.person(name, "bob").join()
    ann.seat(1)
    host.do(routes.seats_action(name, "setup"), seat_mode="request")
    bob.do(routes.speakers(name, "request"))
    ann.leave_media()
    bob.leave_media()
    eventually(lambda: host.grid().seats[1].identity is None and not host.grid().requests, "both are free")
    host.wait_for(messages.SEAT_UPDATE, lambda grid: _occupant(grid, 1) is None and not grid["requests"])


def test_participant_when_back_at_once_keeps_seat_and_right(made: Rooms, name: str) -> None:
    """A participant that comes back at once keeps seat and right."""
    ann = made.person(name).join()
    ann.seat(1)
    ann.may_publish("MICROPHONE")
    ann.leave_media()
    ann.remint()
    ann.join()
    assert ann.sources() == ["MICROPHONE"]
    with pytest.raises(AssertionError):
        eventually(lambda: ann.grid().seats[1].identity is None, "it is free", 4.0)


def test_seats_when_many_fight_for_few_have_one_speaker_each(made: Rooms, name: str) -> None:
    """Many fight for few seats and each seat has one."""
    made.person(name, "witness").join()
    people = [made.person(name, "fighter") for _ in range(16)]

    def fight(person: InRoom) -> None:
        for turn in range(20):
            person.ask("POST", routes.seat_action(name, (turn * 7) % 8, "take"), {})
            person.ask("POST", routes.seats_action(name, "move"), {"target_seat": (turn * 5) % 8})
            if turn % 3 == 0:
                person.ask("POST", routes.seats_action(name, "leave"), {})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(fight, people))
    grid = people[0].grid()
    seated = [seat.identity for seat in grid.seats if seat.identity is not None]
    assert len(seated) == len(set(seated))
    eventually(
        lambda: codec.parse_seat_grid(made.metadata(name, messages.METADATA_SEATS) or {}) == grid,
        "the metadata shows the same",
    )


def test_seat_when_the_actor_is_not_in_the_room_is_refused(made: Rooms, name: str) -> None:
    """A seat is for participants in the room and the actor is the bearer's."""
    ann, bob = made.person(name, "ann"), made.person(name, "bob")
    stranger = made.site.person(fresh("stranger"))
    taken = stranger.ask("POST", routes.seat_action(name, 1, "take"), {})
    assert (taken.status_code, taken.json()["code"]) == (403, "forbidden")
    assert stranger.ask("GET", routes.seats(name)).status_code == 200
    path = routes.seat_action(name, 1, "take")
    assert ann.refused(path, identity=bob.identity) == "identity_mismatch"
    server = made.site.server()
    assert server.ask("POST", path, {}).status_code == 422
    assert server.ask("POST", path, {"identity": bob.identity}).status_code == 200
    assert server.ask("POST", routes.seat_action(name, 1, "kick"), {}).status_code == 200
    assert bob.refused(routes.seats_action(name, "leave")) == "not_seated"
    assert ann.refused(routes.stage(name), "GET") == "invalid_state"


def _seated_in(metadata: str, index: int) -> str | None:
    told = messages.parse_metadata(metadata, messages.METADATA_SEATS)
    assert told is not None
    return _occupant(told, index)


def test_participant_when_joining_finds_the_seats_as_they_are(made: Rooms, name: str) -> None:
    """A participant that comes first finds the seats as they are."""
    ann = made.person(name, "ann")
    ann.seat(1)
    bob = made.person(name, "bob").join()
    media = bob.media.room
    assert media is not None
    assert _seated_in(media.metadata, 1) == ann.identity
    ann.do(routes.seats_action(name, "leave"))
    # By the metadata: a message may come before his data channel is open.
    eventually(lambda: _seated_in(media.metadata, 1) is None, "the news has come")


# The stage and roles.


def test_stage_when_entered_gives_microphone_and_camera(made: Rooms, name: str) -> None:
    """The stage gives microphone and camera."""
    host = made.person(name, "host", "live_stream", role="host", name="Host").join()
    ann = made.person(name, "ann", "live_stream", name="Ann").join()
    host.may_publish("CAMERA", "MICROPHONE", "SCREEN_SHARE", "SCREEN_SHARE_AUDIO")
    ann.do(routes.stage_action(name, "request"))
    assert host.wait_for(messages.STAGE_REQUEST) == {
        "type": "_stage_request",
        "identity": ann.identity,
        "name": "Ann",
    }
    assert ann.refused(routes.stage_action(name, "invite"), target_identity=ann.identity) == "forbidden"
    for _ in range(2):
        answer = host.do(routes.stage_action(name, "invite"), target_identity=ann.identity)
        assert answer["member"] == {"identity": ann.identity, "name": "Ann", "role": "guest"}
    ann.may_publish("CAMERA", "MICROPHONE")
    told = ann.wait_for(messages.STAGE_UPDATE, lambda stage: len(stage["members"]) == 2)  # type: ignore[arg-type]
    members = codec.parse_stage(told)
    assert members is not None
    assert [(member.identity, member.role) for member in members] == [
        (host.identity, "host"),
        (ann.identity, "guest"),
    ]
    assert codec.parse_stage(ann.ask("GET", routes.stage(name))[1]) == members
    assert codec.parse_stage(made.metadata(name, messages.METADATA_STAGE) or {}) == members
    ann.do(routes.stage_action(name, "leave"))
    ann.may_publish()
    assert ann.refused(routes.stage_action(name, "leave")) == "not_on_stage"
    assert host.refused(routes.stage_action(name, "leave")) == "invalid_state"
    host.do(routes.stage_action(name, "invite"), target_identity=ann.identity)
    host.do(routes.stage_action(name, "remove"), target_identity=ann.identity)
    ann.may_publish()
    assert host.refused(routes.stage_action(name, "remove"), target_identity=ann.identity) == "not_on_stage"


def test_role_when_changed_by_the_owner_is_told_to_everybody(made: Rooms, name: str) -> None:
    """The owner changes roles and everybody is told."""
    host = made.person(name, "host", "live_stream", role="host").join()
    ann = made.person(name, "ann", "live_stream", metadata={"team": "red"}).join()
    path = routes.participant_action(name, ann.identity, "role")
    assert ann.refused(path, "PUT", role="admin") == "not_owner"
    assert host.do(path, "PUT", role="guest") == {
        "ok": True,
        "identity": ann.identity,
        "role": "guest",
        "previous_role": "audience",
        "rev": ann.ask("GET", routes.stage(name))[1]["rev"],
    }
    ann.may_publish("CAMERA", "MICROPHONE")
    assert ann.wait_for(messages.ROLE_CHANGE)["role"] == "guest"

    def role() -> object:
        person = person_of(made.site.stack, f"p{made.site.stack.app_id}_{name}", ann.identity)
        told = codec.json_object(str(person.get("metadata", ""))) or {}
        return told.get("role"), told.get("team")

    eventually(lambda: role() == ("guest", "red"), "the metadata says the role and keeps the rest")
    assert host.refused(path, "PUT", role="guest") == "already_in_role"
    assert host.refused(path, "PUT", role="host") == "validation_failed"
    nobody = routes.participant_action(name, "nobody", "role")
    assert host.refused(nobody, "PUT", role="admin") == "participant_not_found"
    host.do(path, "PUT", role="admin")
    listed = ann.do(f"{routes.participants_by_role(name)}?role=admin", "GET")
    rows = listed["data"]
    assert isinstance(rows, list)
    assert [(row["identity"], row["role"]) for row in rows] == [(ann.identity, "admin")]
    assert rows[0]["attributes"] == {"fr": None, "frt": None, "avatar": None, "cn": None}
    bob = made.person(name, "bob", "live_stream").join()
    ann.do(routes.stage_action(name, "invite"), target_identity=bob.identity)
    assert ann.refused(routes.stage_action(name, "remove"), target_identity=host.identity) == "forbidden"


# Faults.


def test_engine_when_killed_keeps_the_grid_and_repairs_rights(own_made: Rooms, name: str) -> None:
    """A killed engine keeps the grid and repairs rights."""
    stack = own_made.site.stack
    ann, bob = own_made.person(name, "ann").join(), own_made.person(name, "bob").join()
    ann.seat(1)
    ann.may_publish("MICROPHONE")
    bob.seat(2)
    grid = ann.grid()
    stack.kill("engine")
    bob.leave_media()
    stack.start("engine")
    assert ann.grid().seats[1] == grid.seats[1]
    ann.may_publish("MICROPHONE")
    eventually(lambda: ann.grid().seats[2].identity is None, "who left meanwhile is not seated", 8.0)


def test_rights_follow_when_the_media_server_is_back(own_made: Rooms, name: str) -> None:
    """Rights follow when the media server is back."""
    stack = own_made.site.stack
    ann = own_made.person(name, "ann").join()
    ann.may_publish()
    stack.stop("livekit")
    ann.seat(1)
    assert ann.grid().seats[1].identity == ann.identity
    stack.start("livekit")
    ann.leave_media()
    ann.remint()
    ann.join()
    ann.may_publish("MICROPHONE")
    assert ann.grid().seats[1].identity == ann.identity


def test_a_grant_that_hangs_is_made_when_the_media_server_answers(own_made: Rooms, name: str) -> None:
    """A grant that hangs is made when the media server answers."""
    stack = own_made.site.stack
    ann, bob = own_made.person(name, "ann").join(), own_made.person(name, "bob").join()
    bob.seat(2)
    bob.may_publish("MICROPHONE")
    with stack.frozen("livekit"):
        ann.seat(1)
        bob.do(routes.seats_action(name, "leave"))
        eventually(lambda: "did not follow" in stack.logs("engine"), "a grant failed", 30.0)
    ann.may_publish("MICROPHONE")
    bob.may_publish()


def _occupant(fields: codec.JsonObject, index: int) -> str | None:
    grid = codec.parse_seat_grid(fields)
    assert grid is not None
    return grid.seats[index].identity
