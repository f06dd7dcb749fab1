"""Bans, participant operations, metadata and the comment lock, on the real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from engine_site import Asker, Site, fresh, people_of
from facts import eventually

from utdstream._wire import codec, messages, routes
from utdstream.room import UTDRoom
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration
_numbers = itertools.count(1)


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    site = Site(stack)
    yield site
    site.close()


class Venue:
    """One room of the engine, its host, and people in it."""

    def __init__(self, site: Site, type: str) -> None:
        self.site = site
        self.type = type
        self.name = f"venue-{next(_numbers)}"
        self.host = site.person(fresh("host"))
        self.mint(self.host.identity, role="host")

    @property
    def livekit_name(self) -> str:
        return f"p{self.site.stack.app_id}_{self.name}"

    def mint(self, identity: str, **fields: object) -> dict[str, str]:
        body = {"identity": identity, "room_name": self.name, "type": self.type, **fields}
        answer = self.site.app().ask("POST", routes.TOKEN, body)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def join(self, room: UTDRoom, identity: str, **fields: object) -> list[messages.EngineMessage]:
        """Joins; the engine's messages that come are in the list."""
        mint = self.mint(identity, **fields)
        heard: list[messages.EngineMessage] = []
        room.messages.subscribe(lambda message: heard.extend(filter(None, [messages.parse(message.data)])))
        room.connect(mint["url"], mint["token"])
        return heard

    def people(self) -> list[str]:
        return people_of(self.site.stack, self.livekit_name)


@pytest.fixture
def live(site: Site) -> Venue:
    return Venue(site, "live_stream")


def code(asker: Asker, method: str, path: str, body: object = None) -> tuple[int, str]:
    answer = asker.ask(method, path, body)
    return answer.status_code, answer.json().get("code", "")


# Bans.


def test_a_ban_removes_and_keeps_out_until_it_expires(site: Site, live: Venue) -> None:
    viewer = fresh("viewer")
    with UTDRoom() as room:
        heard = live.join(room, viewer, name="Vi")
        wanted = {"identity": viewer, "room_name": live.name, "reason": "spam", "duration": 4}
        answer = live.host.ask("POST", routes.BAN, wanted)
        assert answer.status_code == 201, answer.text
        row = answer.json()
        assert (row["identity"], row["room_name"], row["reason"]) == (viewer, live.name, "spam")
        assert row["name"] == "Vi"
        banned_at, expires_at = codec.time(row["banned_at"]), codec.time(row["expires_at"])
        assert banned_at is not None
        assert expires_at is not None
        assert (expires_at - banned_at).total_seconds() == 4

        body = {"identity": viewer, "room_name": live.name, "type": "live_stream"}
        for asker in (site.app(), site.server()):
            refused = asker.ask("POST", routes.TOKEN, body)
            assert (refused.status_code, refused.json()["message"]) == (403, "User is banned")
            assert refused.json()["code"] == "banned"
            assert refused.json()["details"] == {
                "room_name": live.name,
                "reason": "spam",
                "expires_at": row["expires_at"],
            }
        room.connected.wait_for(False, timeout=5)
        notice = next(message for message in heard if message.type == messages.BANNED)
        assert notice.fields["identity"] == viewer
        assert notice.fields["expires_at"] == row["expires_at"]
    assert viewer not in live.people()
    site.person(viewer)  # a ban from a room leaves the rest of the project open
    eventually(lambda: site.app().ask("POST", routes.TOKEN, body).status_code == 200, "the ban expires", 8.0)
    listed = live.host.ask("GET", f"{routes.BANS}?room_name={live.name}").json()
    assert listed["data"] == []


def test_a_token_from_before_the_ban_does_not_help(live: Venue) -> None:
    viewer = fresh("viewer")
    mint = live.mint(viewer)
    assert live.host.ask("POST", routes.BAN, {"identity": viewer, "room_name": live.name}).status_code == 201
    with UTDRoom() as room:
        room.connect(mint["url"], mint["token"])
        room.connected.wait_for(False, timeout=6)
    eventually(lambda: viewer not in live.people(), "the banned one is gone")


def test_a_ban_from_the_project_closes_every_door(site: Site, live: Venue) -> None:
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    with UTDRoom() as room:
        live.join(room, door.identity)
        assert code(live.host, "POST", routes.BAN, {"identity": door.identity}) == (403, "forbidden")
        assert site.server().ask("POST", routes.BAN, {"identity": door.identity}).status_code == 201
        room.connected.wait_for(False, timeout=5)
    assert house.get(call.call_id).end_reason == "caller_cancelled"
    mint = {"identity": door.identity, "room_name": "elsewhere", "type": "live_stream"}
    assert code(site.app(), "POST", routes.TOKEN, mint) == (403, "banned")
    assert code(site.app(), "POST", routes.AUTH_SESSION, {"identity": door.identity}) == (403, "banned")
    assert code(door, "POST", routes.CALLS, {"callee_identity": house.identity}) == (403, "banned")
    lifted = site.server().ask("DELETE", routes.BAN, {"identity": door.identity})
    assert lifted.json() == {"ok": True, "removed": 1}
    assert site.app().ask("POST", routes.AUTH_SESSION, {"identity": door.identity}).status_code == 200


def test_who_may_ban_and_see_bans(site: Site, live: Venue) -> None:
    viewer, other = fresh("viewer"), site.person(fresh("other"))
    wanted = {"identity": viewer, "room_name": live.name}
    assert code(other, "POST", routes.BAN, wanted) == (403, "forbidden")
    assert code(other, "DELETE", routes.BAN, wanted) == (403, "forbidden")
    assert code(other, "GET", f"{routes.BANS}?room_name={live.name}") == (403, "forbidden")
    itself = {"identity": live.host.identity, "room_name": live.name}
    assert code(live.host, "POST", routes.BAN, itself) == (409, "invalid_state")
    nowhere = {"identity": viewer, "room_name": "nowhere"}
    assert code(live.host, "POST", routes.BAN, nowhere) == (404, "room_not_found")
    for bad in ({"duration": 0}, {"duration": "1"}, {"identity": 5}, {"room_name": "a/b"}, {"reason": []}):
        assert code(live.host, "POST", routes.BAN, {**wanted, **bad}) == (422, "validation_failed")

    assert live.host.ask("POST", routes.BAN, wanted).status_code == 201
    assert other.ask("GET", routes.BANS).json()["data"] == []
    assert [row["identity"] for row in live.host.ask("GET", routes.BANS).json()["data"]] == [viewer]
    everywhere = site.server().ask("GET", f"{routes.BANS}?per_page=100").json()
    assert viewer in [row["identity"] for row in everywhere["data"]]
    for removed in (1, 0):
        answer = live.host.ask("DELETE", routes.BAN, wanted)
        assert answer.json() == {"ok": True, "removed": removed}
    live.mint(viewer)
