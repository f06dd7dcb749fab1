"""Bans, participant operations, metadata and the comment lock, on the real servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from engine_site import Asker, Site, fresh, people_of
from facts import eventually, until_heard
from people import small_devices

from utdstream._session.room import UTDRoom
from utdstream._wire import codec, messages, routes
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
        return answer.json()

    def join(self, room: UTDRoom, identity: str, **fields: object) -> list[messages.EngineMessage]:
        """Joins; the engine's messages that come are in the list."""
        mint = self.mint(identity, **fields)
        heard: list[messages.EngineMessage] = []
        room.messages.subscribe(lambda message: heard.extend(filter(None, [messages.parse(message.data)])))
        room.connect(mint["url"], mint["token"])
        probe = {"data": "are you there?", "destination_identities": [identity]}
        until_heard(room.messages, lambda: self.site.server().ask("POST", routes.send_data(self.name), probe))
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


def test_ban_when_pronounced_removes_and_keeps_out_until_it_expires(site: Site, live: Venue) -> None:
    """A ban removes and keeps out until it expires."""
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


def test_ban_when_a_token_is_older_holds(live: Venue) -> None:
    """A token from before the ban does not help."""
    viewer = fresh("viewer")
    mint = live.mint(viewer)
    assert live.host.ask("POST", routes.BAN, {"identity": viewer, "room_name": live.name}).status_code == 201
    with UTDRoom() as room:
        room.connect(mint["url"], mint["token"])
        room.connected.wait_for(False, timeout=6)
    eventually(lambda: viewer not in live.people(), "the banned one is gone")


def test_ban_when_from_the_project_closes_every_door(site: Site, live: Venue) -> None:
    """A ban from the project closes every door."""
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


def test_ban_when_asked_for_is_for_hosts_and_servers(site: Site, live: Venue) -> None:
    """Hosts and servers may ban and see bans."""
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


# People.


@pytest.fixture
def audio(site: Site) -> Venue:
    return Venue(site, "audio_room")


def person(venue: Venue, identity: str, asker: Asker | None = None) -> dict[str, object]:
    answer = (asker or venue.host).ask("GET", routes.participant(venue.name, identity))
    assert answer.status_code == 200, answer.text
    return answer.json()


def permission(venue: Venue, identity: str) -> dict[str, bool]:
    return person(venue, identity)["permission"]  # type: ignore[return-value]


def act(
    venue: Venue, identity: str, action: str, body: object = None, asker: Asker | None = None
) -> dict[str, object]:
    path = routes.participant_action(venue.name, identity, action)
    answer = (asker or venue.host).ask("PUT", path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_permissions_when_changed_are_merged_and_seen_by_the_sfu(live: Venue) -> None:
    """Permissions are merged and seen by the SFU."""
    viewer = fresh("viewer")
    with UTDRoom() as room:
        live.join(room, viewer)
        answer = act(live, viewer, "permissions", {"can_publish": True})
        assert answer["permission"] == {"canPublish": True, "canSubscribe": True, "canPublishData": True}
        eventually(lambda: permission(live, viewer)["canPublish"], "the viewer may publish")
        room.can_publish.wait_for(True, timeout=5)
        act(live, viewer, "permissions", {"can_subscribe": False, "can_publish_data": False})
        wanted = {"canPublish": True, "canSubscribe": False, "canPublishData": False}
        eventually(lambda: permission(live, viewer) == wanted, "the rest is as it was")
        act(live, viewer, "permissions", {"can_publish": False, "can_subscribe": True})
        wanted = {"canPublish": False, "canSubscribe": True, "canPublishData": False}
        eventually(lambda: permission(live, viewer) == wanted, "the right is taken")
        room.can_publish.wait_for(False, timeout=5)


def test_microphone_when_in_an_audio_room_needs_a_seat(site: Site, audio: Venue) -> None:
    """In an audio room a seat gives the microphone."""
    speaker = site.person(fresh("speaker"))
    audio.mint(speaker.identity)
    path = routes.participant_action(audio.name, speaker.identity, "permissions")
    assert code(audio.host, "PUT", path, {"can_publish": True}) == (409, "not_seated")
    assert speaker.ask("POST", routes.seat_action(audio.name, 3, "take")).status_code == 200
    assert act(audio, speaker.identity, "permissions", {"can_publish": False})["permission"] == {
        "canPublish": False,
        "canSubscribe": True,
        "canPublishData": True,
    }
    granted = act(audio, speaker.identity, "permissions", {"can_publish": True})["permission"]
    assert granted == {"canPublish": True, "canSubscribe": True, "canPublishData": True}
    own = routes.participant_action(audio.name, audio.host.identity, "permissions")
    assert code(audio.host, "PUT", own, {"can_publish": False}) == (409, "invalid_state")


def test_publication_when_forbidden_stops_and_stays_forbidden(live: Venue) -> None:
    """Forbidding stops a publication and lasts."""
    viewer = fresh("viewer")
    with UTDRoom(devices=small_devices()) as room:
        live.join(room, viewer)
        act(live, viewer, "permissions", {"can_publish": True})
        room.can_publish.wait_for(True, timeout=5)
        room.set_microphone(True)
        eventually(lambda: person(live, viewer)["tracks"], "the microphone is published")
        assert act(live, viewer, "forbid-stream") == {"ok": True}
        eventually(lambda: not person(live, viewer)["tracks"], "the track is gone")
        assert not permission(live, viewer)["canPublish"]
        assert act(live, viewer, "resume-stream") == {"ok": True}
        eventually(lambda: permission(live, viewer)["canPublish"], "the right is back")


def test_mute_when_ordered_reaches_the_track(live: Venue) -> None:
    """A mute reaches the track."""
    viewer = fresh("viewer")
    with UTDRoom(devices=small_devices()) as room:
        live.join(room, viewer)
        act(live, viewer, "permissions", {"can_publish": True})
        room.can_publish.wait_for(True, timeout=5)
        room.set_microphone(True)
        room.set_camera(True)

        def muted() -> dict[str, bool]:
            return {track["type"]: track["muted"] for track in person(live, viewer)["tracks"]}  # type: ignore[attr-defined]

        eventually(lambda: muted() == {"audio": False, "video": False}, "both are published")
        answer = act(live, viewer, "mute", {"audio": True})
        assert len(answer["tracks"]) == 1  # type: ignore[arg-type]
        eventually(lambda: muted() == {"audio": True, "video": False}, "the microphone is muted")
        video = next(t["sid"] for t in person(live, viewer)["tracks"] if t["type"] == "video")  # type: ignore[attr-defined]
        act(live, viewer, "mute", {"track_sid": video, "muted": True})
        eventually(lambda: muted() == {"audio": True, "video": True}, "the camera is muted")
        assert act(live, viewer, "mute", {"audio": True, "muted": False})["ok"] is True
        path = routes.participant_action(live.name, viewer, "mute")
        assert code(live.host, "PUT", path, {"track_sid": "TR_none"}) == (404, "not_found")
        assert code(live.host, "PUT", path, {"audio": False}) == (422, "validation_failed")


def test_metadata_of_a_participant_when_changed_is_merged_and_the_engines_keys_stay(live: Venue) -> None:
    """A participant's metadata is merged and the engine's keys stay."""
    viewer = fresh("viewer")
    with UTDRoom() as room:
        live.join(room, viewer, metadata={"team": "red", "level": 1})
        changes = {"team": None, "level": 2, "role": "host", "_device": "x", "appId": "0", "new": "ü"}
        act(live, viewer, "metadata", {"metadata": changes})

        def seen() -> dict[str, object]:
            return json.loads(str(person(live, viewer)["metadata"]))

        eventually(lambda: seen().get("new") == "ü", "the change is there")
        metadata = seen()
        assert (metadata["level"], metadata["role"], metadata["appId"]) == (
            2,
            "audience",
            live.site.stack.app_id,
        )
        assert metadata["_device"] != "x"
        assert "team" not in metadata


def test_admin_when_moderating_may_all_but_the_host(site: Site, live: Venue) -> None:
    """An admin moderates but never the host."""
    admin, viewer = site.person(fresh("admin")), site.person(fresh("viewer"))
    for asker in (admin, viewer):
        live.mint(asker.identity)
    act(live, admin.identity, "role", {"role": "admin"})
    bodies = {"permissions": {"can_subscribe": False}, "forbid-stream": None, "resume-stream": None}
    for action, body in bodies.items():
        act(live, viewer.identity, action, body, asker=admin)
        for asker, target in ((admin, live.host), (viewer, admin)):
            path = routes.participant_action(live.name, target.identity, action)
            assert code(asker, "PUT", path, body) == (403, "forbidden")
        nobody = routes.participant_action(live.name, fresh("nobody"), action)
        assert code(live.host, "PUT", nobody, body) == (404, "participant_not_found")
    for action, change in (("mute", {"audio": True}), ("metadata", {"metadata": {}})):
        path = routes.participant_action(live.name, live.host.identity, action)
        assert code(admin, "PUT", path, change) == (403, "forbidden")
        nobody = routes.participant_action(live.name, fresh("nobody"), action)
        assert code(admin, "PUT", nobody, change) == (404, "participant_not_found")
    banned = {"identity": live.host.identity, "room_name": live.name}
    assert code(admin, "POST", routes.BAN, banned) == (403, "forbidden")
    by_admin = {"identity": viewer.identity, "room_name": live.name}
    assert admin.ask("POST", routes.BAN, by_admin).status_code == 201
    itself = {"identity": admin.identity, "room_name": live.name}
    assert live.host.ask("POST", routes.BAN, itself).status_code == 201
    assert code(admin, "DELETE", routes.BAN, by_admin) == (403, "forbidden")  # no admin any more


# Comments and metadata.


def test_comments_when_locked_are_told_and_written_down(site: Site, live: Venue) -> None:
    """Locked comments are told and written down."""
    viewer = site.person(fresh("viewer"))
    with UTDRoom() as room:
        heard = live.join(room, viewer.identity)
        path = routes.comments_lock(live.name)
        assert live.host.ask("PUT", path, {"locked": True}).json() == {"ok": True, "locked": True}

        def locks() -> list[tuple[object, object]]:
            found = [message.fields for message in heard if message.type == messages.COMMENT_LOCK]
            return [(fields["locked"], fields["by"]) for fields in found]

        eventually(lambda: locks() == [(True, live.host.identity)], "the room is told")

        def written() -> object:
            metadata = live.host.ask("GET", routes.room(live.name)).json()["metadata"]
            found = messages.parse_metadata(metadata, messages.METADATA_COMMENTS)
            return found is not None and found["locked"]

        assert written() is True
        assert live.host.ask("PUT", path, {"locked": True}).status_code == 200  # nothing new to tell
        assert site.server().ask("PUT", path, {"locked": False}).json() == {"ok": True, "locked": False}
        eventually(lambda: [lock[0] for lock in locks()] == [True, False], "the room is told again")
        assert written() is False
        assert code(viewer, "PUT", path, {"locked": True}) == (403, "forbidden")
        for bad in (None, {}, {"locked": 1}, {"locked": "true"}):
            assert code(live.host, "PUT", path, bad) == (422, "validation_failed")


def test_room_metadata_when_changed_is_the_applications_beside_the_engines(site: Site, live: Venue) -> None:
    """Room metadata is the application's beside the engine's."""
    viewer = site.person(fresh("viewer"))
    live.mint(viewer.identity)
    path = routes.room_metadata(live.name)

    def seen() -> dict[str, object]:
        return json.loads(live.host.ask("GET", routes.room(live.name)).json()["metadata"])

    before = seen()
    assert live.host.ask("PUT", path, {"metadata": {"topic": "ü", "a": {"b": [1]}}}).json() == {"ok": True}
    eventually(lambda: seen().get("topic") == "ü", "the metadata is there")
    assert seen()["_stage"]["members"] == before["_stage"]["members"]  # type: ignore[index]
    assert site.server().ask("PUT", path, {"metadata": {"other": 1}}).status_code == 200
    eventually(lambda: seen().get("other") == 1, "it is replaced")
    assert "topic" not in seen()
    assert code(viewer, "PUT", path, {"metadata": {}}) == (403, "forbidden")
    deep = {"a": "x" * 20_000}
    for bad in ({"_stage": 1}, [], "text", None, deep):
        assert code(live.host, "PUT", path, {"metadata": bad}) == (422, "validation_failed")
    assert code(live.host, "PUT", routes.room_metadata("a/b"), {"metadata": {}}) == (422, "validation_failed")
