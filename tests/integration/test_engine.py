"""The engine over its REST interface, with the real media server and the real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest
from engine_site import EventReader, Site, UpdateReader, fresh, people_of, rooms_of
from facts import eventually
from servers import every_refusal_is_declared

from utdstream._session.room import UTDRoom
from utdstream._wire import codec, messages, routes
from utdstream.models import UTDCallStatus
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    site = Site(stack)
    yield site
    site.close()


@pytest.fixture(scope="module")
def hasty(programs: None) -> Iterator[LocalStack]:
    """A stack whose rings and calls are short."""
    limits = {"call_ring_timeout_s": 1.5, "max_call_duration_s": 1.5, "video_enabled": False}
    with LocalStack(project=limits) as running:
        yield running
        every_refusal_is_declared(running)


@pytest.fixture
def hasty_site(hasty: LocalStack) -> Iterator[Site]:
    site = Site(hasty)
    yield site
    site.close()


# Calls.


def test_call_when_made_is_rung_answered_and_ended(site: Site) -> None:
    """A call is made rung answered and ended."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    answer = door.ask(
        "POST",
        routes.CALLS,
        {
            "caller_identity": door.identity,
            "callee_identity": house.identity,
            "caller_name": "Front door",
            "type": "video",
            "metadata": {"floor": 2},
            "os": "linux",
        },
    )
    assert answer.status_code == 201
    call = codec.parse_call(answer.json())
    assert answer.json()["type"] == "video_call"
    assert call.call_id.startswith("call_")
    assert len(call.call_id) == 29
    assert (call.room_name, call.status, call.rev) == (call.call_id, S.INITIATING, 1)
    assert (call.caller_name, call.metadata) == ("Front door", {"floor": 2})
    assert call.token is not None
    assert call.url == site.stack.livekit_url
    assert call.created_at is not None
    assert call.expires_at is not None
    assert (call.expires_at - call.created_at).total_seconds() == 30.0
    assert abs((parsedate_to_datetime(answer.headers["Date"]) - call.created_at).total_seconds()) < 3

    assert house.get(call.call_id).token is None
    assert house.act(call.call_id, "ringing").status is S.RINGING
    assert house.act(call.call_id, "ringing").rev == 2
    accepted = house.act(call.call_id, "accept")
    assert accepted.status is S.ACTIVE
    assert accepted.token is not None
    assert accepted.url == call.url
    assert accepted.answered_at is not None
    assert door.get(call.call_id).token is not None

    over = door.act(call.call_id, "end")
    assert (over.status, over.end_reason, over.duration_seconds) == (S.ENDED, "caller_hangup", 0)
    assert house.act(call.call_id, "end") == over
    assert door.get(call.call_id) == over
    assert over.token is None


@pytest.mark.parametrize(("action", "status"), [("reject", S.REJECTED), ("busy", S.BUSY)])
def test_call_when_the_callee_refuses_is_rejected(site: Site, action: str, status: UTDCallStatus) -> None:
    """The callee refuses the call."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    assert house.act(call.call_id, action).status is status
    late = house.ask("POST", routes.call_action(call.call_id, "accept"))
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")


def test_callee_when_on_a_call_is_busy_until_it_ends(site: Site) -> None:
    """A callee on a call is busy until it ends."""
    door, house, third = (site.person(fresh(name)) for name in ("door", "house", "third"))
    call = door.call(house.identity)
    house.act(call.call_id, "accept")
    for callee in (house, door):
        refused = third.ask("POST", routes.CALLS, {"callee_identity": callee.identity})
        assert (refused.status_code, refused.json()["code"]) == (409, "callee_busy")
    house.act(call.call_id, "end")
    assert third.call(house.identity).status is S.INITIATING


def test_callee_when_talking_is_rung_by_a_caller_that_its_key_lets_break_in(site: Site) -> None:
    """Another caller is refused as busy; the answer leaves the call that is under way as it is."""
    house, door, flat, other = (site.person(fresh(name)) for name in ("house", "door", "flat", "other"))
    site.stack.issue_key(house.identity, allow_break_in=[door.identity])
    talk = flat.call(house.identity)
    house.act(talk.call_id, "accept")
    refused = other.ask("POST", routes.CALLS, {"callee_identity": house.identity})
    assert (refused.status_code, refused.json()["code"]) == (409, "callee_busy")
    broken_in = door.call(house.identity)
    assert house.act(broken_in.call_id, "ringing").status is S.RINGING
    assert house.act(broken_in.call_id, "accept").status is S.ACTIVE
    assert flat.get(talk.call_id).status is S.ACTIVE


def test_callee_when_rung_or_calling_is_rung_by_others_too(site: Site) -> None:
    """Call waiting: neither a ring nor a call of its own makes a callee busy, and an answer ends no other ring."""
    door, house, third, fourth = (site.person(fresh(name)) for name in ("door", "house", "third", "fourth"))
    calls = [caller.call(house.identity) for caller in (door, third, fourth)]
    assert house.call(door.identity).status is S.INITIATING
    house.act(calls[0].call_id, "accept")
    for waiting in calls[1:]:
        assert house.act(waiting.call_id, "ringing").status is S.RINGING
    house.act(calls[0].call_id, "end")
    assert house.act(calls[1].call_id, "accept").status is S.ACTIVE


def test_callee_when_four_strangers_ring_is_still_rung_by_a_caller_it_knows(site: Site) -> None:
    """The stranger that has rung longest becomes busy; a fifth stranger, and then a sixth caller, are refused."""
    house, door = site.person(fresh("house")), site.person(fresh("door"))
    before = door.call(house.identity)
    house.act(before.call_id, "accept")
    house.act(before.call_id, "end")
    strangers = [site.person(fresh("stranger")) for _ in range(5)]
    rings = [stranger.call(house.identity) for stranger in strangers[:4]]
    refused = strangers[4].ask("POST", routes.CALLS, {"callee_identity": house.identity})
    assert (refused.status_code, refused.json()["code"]) == (409, "callee_busy")
    assert door.call(house.identity).status is S.INITIATING
    states = [house.get(ring.call_id).status for ring in rings]
    assert states == [S.BUSY, S.INITIATING, S.INITIATING, S.INITIATING]


def test_caller_when_calling_anew_ends_the_unanswered_call(site: Site) -> None:
    """A new call of the caller ends the unanswered one."""
    door, house, other = (site.person(fresh(name)) for name in ("door", "house", "other"))
    first = door.call(house.identity)
    second = door.call(other.identity)
    assert (door.get(first.call_id).status, door.get(first.call_id).end_reason) == (
        S.ENDED,
        "caller_cancelled",
    )
    third = door.call(other.identity)
    assert third.call_id != second.call_id


def test_call_when_made_twice_with_one_key_is_one(site: Site) -> None:
    """The same key makes one call."""
    door, house, other = (site.person(fresh(name)) for name in ("door", "house", "other"))
    body = {"callee_identity": house.identity}
    first = door.ask("POST", routes.CALLS, body, Idempotency_Key="k 1")
    again = door.ask("POST", routes.CALLS, body, Idempotency_Key="k 1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["call_id"] == again.json()["call_id"]
    assert again.json()["token"]
    differs = door.ask("POST", routes.CALLS, {"callee_identity": other.identity}, Idempotency_Key="k 1")
    assert differs.status_code == 422
    accept = routes.call_action(first.json()["call_id"], "accept")
    answers = [house.ask("POST", accept, Idempotency_Key=key) for key in ("a", "a", "b")]
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[1].json()["token"]


def test_actor_when_a_bearer_names_it_is_fixed_and_a_stranger_has_no_access(site: Site) -> None:
    """A bearer fixes the actor and a stranger has no access."""
    door, house, stranger = (site.person(fresh(name)) for name in ("door", "house", "stranger"))
    forged = door.ask(
        "POST", routes.CALLS, {"caller_identity": house.identity, "callee_identity": stranger.identity}
    )
    assert (forged.status_code, forged.json()["code"]) == (403, "identity_mismatch")
    call = door.call(house.identity)
    as_house = door.ask("POST", routes.call_action(call.call_id, "accept"), {"identity": house.identity})
    assert as_house.json()["code"] == "identity_mismatch"
    own = door.ask("POST", routes.call_action(call.call_id, "accept"))
    assert (own.status_code, own.json()["code"]) == (403, "forbidden")
    for answer in (
        stranger.ask("GET", routes.call(call.call_id)),
        stranger.ask("POST", routes.call_action(call.call_id, "end")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert stranger.ask("GET", f"{routes.CALLS}?identity=x").json()["data"] == []
    missing = door.ask("GET", routes.call("call_unknown"))
    assert (missing.status_code, missing.json()["code"]) == (404, "call_not_found")


def test_actor_when_a_server_asks_is_the_one_it_names(site: Site) -> None:
    """A server names the actor."""
    server, door, house = site.server(), fresh("door"), fresh("house")
    nobody = server.ask("POST", routes.CALLS, {"callee_identity": house})
    assert nobody.status_code == 422
    call_id = server.ask("POST", routes.CALLS, {"caller_identity": door, "callee_identity": house}).json()[
        "call_id"
    ]
    assert server.ask("POST", routes.call_action(call_id, "accept"), {"identity": door}).status_code == 403
    accepted = server.ask("POST", routes.call_action(call_id, "accept"), {"identity": house})
    assert accepted.json()["token"]
    assert "token" not in server.ask("GET", routes.call(call_id)).json()
    over = server.ask("POST", routes.call_action(call_id, "end"), {"identity": house}).json()
    assert over["end_reason"] == "callee_hangup"


def test_lists_when_asked_for_are_filtered_and_paged(site: Site) -> None:
    """Lists are filtered and paged."""
    door = site.person(fresh("door"))
    calls = [door.call(fresh("house")) for _ in range(3)]
    page = door.ask("GET", f"{routes.CALLS}?per_page=2").json()
    assert page["pagination"] == {"page": 1, "per_page": 2, "total": 3, "total_pages": 2}
    assert [row["call_id"] for row in page["data"]] == [calls[2].call_id, calls[1].call_id]
    open_only = door.ask("GET", f"{routes.CALLS}?status=initiating,ringing").json()["data"]
    assert [row["call_id"] for row in open_only] == [calls[2].call_id]
    assert "token" not in open_only[0]
    for query in ("status=lost", "type=x", "page=0", "per_page=101", "start_date=never", "identity=%00"):
        assert door.ask("GET", f"{routes.CALLS}?{query}").status_code == 422, query


def test_call_when_nobody_answers_is_missed(hasty_site: Site) -> None:
    """Nobody answers, and the call is missed."""
    door, house = hasty_site.person(fresh("door")), hasty_site.person(fresh("house"))
    call = door.call(house.identity, "audio_call")
    with EventReader(hasty_site.stack.mqtt_login(house.identity)) as device:
        missed = device.wait_for(messages.CALL_MISSED, call.call_id)
    assert missed.call.status is S.MISSED
    assert door.get(call.call_id).end_reason == "ring_timeout"
    eventually(lambda: not rooms_of(hasty_site.stack, call.call_id), "the room of a missed call is gone")


def test_call_when_too_long_is_ended(hasty_site: Site) -> None:
    """A call that is too long is ended."""
    door, house = hasty_site.person(fresh("door")), hasty_site.person(fresh("house"))
    call = door.call(house.identity, "audio_call")
    house.act(call.call_id, "accept")
    eventually(lambda: door.get(call.call_id).status is S.ENDED, "the call reached its longest duration")
    assert door.get(call.call_id).end_reason == "max_duration"


def test_video_when_not_enabled_is_refused(hasty_site: Site) -> None:
    """Video that is not enabled is refused."""
    answer = hasty_site.person(fresh("door")).ask(
        "POST", routes.CALLS, {"callee_identity": "x", "type": "video_call"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "feature_disabled")
    assert answer.json()["message"] == "Video is not enabled for this project"


# In the room.


def test_room_when_its_call_changes_tells_by_metadata_and_message(site: Site) -> None:
    """The room tells each change in its metadata and by message."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)

    def told() -> UTDCallStatus | None:
        rooms = rooms_of(site.stack, call.call_id)
        inside = messages.parse_room_metadata(str(rooms[0].get("metadata"))) if rooms else None
        return inside.status if inside else None

    assert told() is S.INITIATING
    with UTDRoom() as room:
        reader = UpdateReader(room)
        room.connect(call.url or "", call.token or "")
        house.act(call.call_id, "ringing")
        eventually(lambda: reader.statuses() == ["ringing"], "the room was told of the ringing")
        assert told() is S.RINGING
        house.act(call.call_id, "accept")
        eventually(lambda: reader.statuses() == ["ringing", "active"], "the room was told of the answer")
        assert told() is S.ACTIVE
        house.act(call.call_id, "end")
        eventually(lambda: reader.statuses()[-1] == "ended", "the room was told of the end")
        assert told() is S.ENDED
        assert reader.updates[-1].end_reason == "callee_hangup"
        assert [update.rev for update in reader.updates] == [2, 3, 4]
        assert all(update.token is None for update in reader.updates)
        ended_at = time.monotonic()
        room.disconnect()
        eventually(lambda: not rooms_of(site.stack, call.call_id), "the empty room is gone", 1.9)
        assert time.monotonic() - ended_at < 1.9


def test_room_when_participants_stay_is_ended_under_them(site: Site) -> None:
    """A room is ended under those who stay."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    with UTDRoom() as room:
        room.connect(call.url or "", call.token or "")
        over_at = time.monotonic()
        house.act(call.call_id, "reject")
        room.connected.wait_for(False, timeout=10)
        assert time.monotonic() - over_at > 1.5, "nobody had time to leave by themselves"


def test_call_when_a_leg_vanishes_ends(site: Site) -> None:
    """A leg that vanishes ends the call."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    accepted = house.act(call.call_id, "accept")
    with UTDRoom() as at_door, UTDRoom() as at_house:
        at_door.connect(call.url or "", call.token or "")
        at_house.connect(accepted.url or "", accepted.token or "")
        assert people_of(site.stack, call.call_id) == sorted((door.identity, house.identity))
        at_house.disconnect()
        eventually(lambda: door.get(call.call_id).status is S.ENDED, "the lost leg ended the call")
        assert door.get(call.call_id).end_reason == "participant_left"


def test_call_when_a_leg_comes_back_at_once_goes_on(site: Site) -> None:
    """A leg that comes back at once does not end the call."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    accepted = house.act(call.call_id, "accept")
    with UTDRoom() as at_door, UTDRoom() as at_house, UTDRoom() as instead:
        at_door.connect(call.url or "", call.token or "")
        at_house.connect(accepted.url or "", accepted.token or "")
        instead.connect(accepted.url or "", house.get(call.call_id).token or "")
        at_house.connected.wait_for(False, timeout=5)
        at_door.disconnect()
        at_door.connect(call.url or "", door.get(call.call_id).token or "")
        with pytest.raises(AssertionError):
            eventually(lambda: door.get(call.call_id).status is not S.ACTIVE, "it ended", 4.0)
        door.act(call.call_id, "end")


def test_caller_when_leaving_before_the_answer_has_cancelled(site: Site) -> None:
    """A caller who leaves before the answer has cancelled."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with EventReader(site.stack.mqtt_login(house.identity)) as device:
        call = door.call(house.identity)
        with UTDRoom() as room:
            room.connect(call.url or "", call.token or "")
            room.disconnect()
        cancelled = device.wait_for(messages.CALL_CANCELLED, call.call_id)
    assert cancelled.call.status is S.ENDED
    assert door.get(call.call_id).end_reason == "caller_cancelled"


@pytest.mark.slow
def test_call_when_the_callee_answers_and_never_joins_ends(site: Site) -> None:
    """A callee who answers and never joins ends the call."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    with UTDRoom() as room:
        room.connect(call.url or "", call.token or "")
        house.act(call.call_id, "accept")
        eventually(lambda: door.get(call.call_id).status is S.ENDED, "the callee never joined", 18.0)
    assert door.get(call.call_id).end_reason == "participant_left"


def test_audio_call_when_joined_grants_no_camera(site: Site) -> None:
    """An audio call publishes no camera."""
    import jwt

    door, house = site.person(fresh("door")), site.person(fresh("house"))
    for type, sources in (("voice", ["microphone"]), ("video", ["microphone", "camera"])):
        token = door.call(house.identity, type).token or ""
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["video"]["canPublishSources"] == sources


# Over MQTT.


def test_device_when_listening_hears_its_ring_and_nobody_elses(site: Site) -> None:
    """A device hears its ring and nobody else's."""
    door, house, spy = (site.person(fresh(name)) for name in ("door", "house", "spy"))
    login = site.stack.mqtt_login(house.identity)
    foreign = (
        login.topic,
        "utdstream/#",
        "utdstream/v1/+/+/calls",
        "#",
        "$CONTROL/dynamic-security/v1/response",
    )
    with (
        EventReader(login) as device,
        EventReader(site.stack.mqtt_login(spy.identity), foreign) as spying,
    ):
        assert device.granted == [True]
        assert spying.granted == [False] * len(foreign)
        call = door.call(house.identity, caller_name="Front door")
        rung = device.wait_for(messages.CALL_INITIATED, call.call_id)
        assert (rung.call.caller_name, rung.call.expires_at) == ("Front door", call.expires_at)
        assert rung.call.token is None
        house.act(call.call_id, "ringing")
        house.act(call.call_id, "accept")
        answered = device.wait_for(messages.CALL_ANSWERED_ELSEWHERE, call.call_id)
        door.act(call.call_id, "end")
        ended = device.wait_for(messages.CALL_ENDED, call.call_id)
        assert rung.seq < answered.seq < ended.seq
        assert spying.events == []


def test_ring_when_no_device_rings_is_repeated(site: Site) -> None:
    """A ring is repeated until a device rings."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with EventReader(site.stack.mqtt_login(house.identity)) as device:
        call = door.call(house.identity)
        assert device.wait(lambda: len(device.events) >= 2), "the ring was not repeated"
        assert {event.event for event in device.events} == {messages.CALL_INITIATED}
        house.act(call.call_id, "ringing")
        heard = len(device.events)
        assert not device.wait(lambda: len(device.events) > heard, 3.5)
        house.act(call.call_id, "reject")


# Rooms.


def test_live_stream_when_joined_has_one_host_and_an_audience(site: Site) -> None:
    """A live stream has one host and an audience."""
    import jwt

    app, name = site.app(), "live.room-1"

    def mint(identity: str, **fields: object) -> dict[str, object]:
        answer = app.ask(
            "POST",
            routes.TOKEN,
            {"identity": identity, "room_name": name, "type": "live_stream", **fields},
        )
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body

    viewer, host, impostor = mint("viewer"), mint("host", role="host"), mint("impostor", role="host")
    assert [row["role"] for row in (viewer, host, impostor)] == ["audience", "host", "audience"]
    assert host["room_name"] == host["roomName"] == name
    claims = jwt.decode(str(impostor["token"]), options={"verify_signature": False})
    assert claims["video"]["canPublish"] is False
    assert claims["video"]["room"] == f"p{site.stack.app_id}_{name}"
    assert json.loads(claims["metadata"])["role"] == "audience"
    as_audio = app.ask("POST", routes.TOKEN, {"identity": "x", "room_name": name, "type": "audio_room"})
    assert (as_audio.status_code, as_audio.json()["code"]) == (409, "invalid_state")

    owner = site.with_headers(Authorization=f"Bearer {host['user_token']}")
    other = site.with_headers(Authorization=f"Bearer {viewer['user_token']}")
    with UTDRoom() as room:
        room.connect(str(viewer["url"]), str(viewer["token"]))
        person = routes.participant(name, "viewer")
        row = owner.ask("GET", person).json()
        assert row["permission"] == {"canPublish": False, "canSubscribe": True, "canPublishData": True}
        assert other.ask("GET", person).status_code == 200
        assert other.ask("DELETE", person).status_code == 403
        listed = site.server().ask("GET", routes.ROOMS).json()["data"]
        assert name in [row["room_name"] for row in listed]
        whole = owner.ask("GET", routes.room(f"p{site.stack.app_id}_{name}")).json()
        assert [p["identity"] for p in whole["participants"]] == ["viewer"]

        heard: list[bytes] = []
        room.messages.subscribe(lambda message: heard.append(message.data))
        assert owner.ask("POST", routes.send_data(name), {"data": "hello"}).json() == {"ok": True}
        forged = owner.ask("POST", routes.send_data(name), {"data": {"type": "_banned"}})
        assert forged.status_code == 422
        assert other.ask("POST", routes.send_data(name), {"data": "x"}).status_code == 403
        eventually(lambda: heard == [b"hello"], "the data message arrived")
        assert owner.ask("DELETE", person).json() == {"ok": True}
        eventually(lambda: messages.removed("removed") in heard, "the removed one was told")
        assert owner.ask("GET", person).status_code == 404

    refused = other.ask("DELETE", routes.room(name))
    assert (refused.status_code, refused.json()["code"]) == (403, "not_owner")
    assert owner.ask("DELETE", routes.room(name)).json()["message"] == "Room closed"
    gone = owner.ask("GET", routes.room(name))
    assert (gone.status_code, gone.json()["code"]) == (404, "room_not_found")


def test_audio_room_when_joined_lets_nobody_publish_by_token(site: Site) -> None:
    """Nobody publishes in an audio room by token."""
    import jwt

    answer = (
        site.app()
        .ask(
            "POST",
            routes.TOKEN,
            {"identity": "ann", "room_name": "audio", "type": "audio_room", "role": "host", "seat_count": 8},
        )
        .json()
    )
    assert answer["role"] == "host"
    video = jwt.decode(answer["token"], options={"verify_signature": False})["video"]
    assert (video["canPublish"], video["canSubscribe"], video["canPublishData"]) == (False, True, True)


def test_room_when_closing_says_so_first(site: Site) -> None:
    """A closing room says so first."""
    body = {"identity": "ann", "room_name": "closing", "type": "live_stream", "role": "host"}
    mint = site.app().ask("POST", routes.TOKEN, body).json()
    heard: list[bytes] = []
    with UTDRoom() as room:
        room.connect(mint["url"], mint["token"])
        room.messages.subscribe(lambda message: heard.append(message.data))
        assert site.server().ask("DELETE", routes.room("closing")).status_code == 200
        room.connected.wait_for(False, timeout=5)
        eventually(lambda: heard == [messages.live_ended()], "it was told before")


def test_project_when_asked_says_what_is_switched_on(site: Site) -> None:
    """The project says what is switched on."""
    project = site.server().ask("GET", routes.PROJECT).json()
    assert project["app_id"] == site.stack.app_id
    assert (project["calls_enabled"], project["call_ring_timeout"]) == (True, 30.0)
