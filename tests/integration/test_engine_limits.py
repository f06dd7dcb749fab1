"""Limits of a project and of one identity, on a stack where they are on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import requests
from engine_site import TIMEOUT_S, Asker, Site, fresh, people_of, rooms_of
from facts import eventually
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from servers import every_refusal_is_declared

from utdstream._session.room import UTDRoom
from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def narrow(programs: None) -> Iterator[LocalStack]:
    """A stack with room for three rooms of two people, and small limits."""
    project = {"max_concurrent_rooms": 3, "max_participants_per_room": 2}
    limits = {
        "enabled": True,
        "requests_per_minute": 30,
        "mints_per_minute": 20,
        "mints_per_minute_each": 10_000,
        "takeover_cooldown_s": 2.0,
        "unanswered_calls": 3,
        "pairings_per_minute_each": 4,
    }
    with LocalStack(project=project, limits=limits) as running:
        yield running
        every_refusal_is_declared(running)


@pytest.fixture
def site(narrow: LocalStack) -> Iterator[Site]:
    site = Site(narrow)
    yield site
    rooms = site.server().ask("GET", routes.ROOMS).json()["data"]
    for room in rooms:
        site.server().ask("DELETE", routes.room(room["room_name"]))
    site.close()


def mint(site: Site, identity: str, room: str, **fields: object) -> tuple[int, dict[str, str]]:
    body = {"identity": identity, "room_name": room, "type": "audio_room", **fields}
    answer = site.app().ask("POST", routes.TOKEN, body)
    if answer.status_code == 429:
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status_code, answer.json()


def test_project_when_its_rooms_are_full_refuses_another(site: Site) -> None:
    """A project has a limited number of rooms at once."""
    project = site.server().ask("GET", routes.PROJECT).json()
    assert (project["max_concurrent_rooms"], project["max_participants_per_room"]) == (3, 2)
    ann = fresh("ann")
    for number in range(3):
        assert mint(site, ann, f"room-{number}")[0] == 200
    status, answer = mint(site, ann, "room-3")
    assert (status, answer["code"]) == (403, "room_limit_reached")
    assert answer["message"] == "Maximum concurrent rooms reached"
    assert mint(site, fresh("bob"), "room-0")[0] == 200  # a room that exists takes people in
    assert site.server().ask("GET", routes.PROJECT).json()["active_rooms"] == 3
    assert site.server().ask("DELETE", routes.room("room-1")).status_code == 200
    assert mint(site, ann, "room-3")[0] == 200


def test_room_when_made_has_the_projects_size_and_a_live_stream_none(narrow: LocalStack, site: Site) -> None:
    """An audio room has the project's size and a live stream none."""
    ann = fresh("ann")
    mint(site, ann, "small")
    mint(site, ann, "big", type="live_stream")
    sizes = [
        rooms_of(narrow, f"p{narrow.app_id}_{name}")[0].get("max_participants", 0)
        for name in ("small", "big")
    ]
    assert sizes == [2, 0]


def test_takeover_when_another_device_was_there_waits(narrow: LocalStack, site: Site) -> None:
    """Another device waits before it takes over."""
    ann = fresh("ann")
    assert mint(site, ann, "kept", device_id="phone")[0] == 200
    assert mint(site, ann, "kept", device_id="tablet")[0] == 200  # nobody is there yet
    status, answer = mint(site, ann, "kept", device_id="phone")
    assert status == 200
    with UTDRoom() as room:
        room.connect(answer["url"], answer["token"])
        eventually(lambda: people_of(narrow, f"p{narrow.app_id}_kept") == [ann], "ann is there")
        assert mint(site, ann, "kept", device_id="phone")[0] == 200
        status, refused = mint(site, ann, "kept", device_id="tablet")
        assert (status, refused["code"]) == (429, "session_takeover_cooldown")
        assert int(refused["retry_after"]) in (1, 2)
        eventually(
            lambda: mint(site, ann, "kept", device_id="tablet")[0] == 200, "the cool-down is over", 8.0
        )
        assert mint(site, ann, "kept", device_id="phone")[0] == 429  # it is the tablet's now
        assert mint(site, ann, "kept")[0] == 200


def test_identity_when_it_mints_and_asks_too_often_is_limited(site: Site) -> None:
    """Mints and requests of one identity are limited."""
    ann, bob = site.person(fresh("ann")), fresh("bob")
    codes = [ann.ask("GET", routes.CALLS).status_code for _ in range(40)]
    assert codes.count(200) in range(30, 33)
    assert codes[-1] == 429
    answers = [mint(site, bob, "busy", device_id="a")[0] for _ in range(25)]
    assert answers.count(200) in range(20, 22)
    assert answers[-1] == 429
    assert mint(site, bob, "busy", device_id="b")[0] == 200


def test_caller_when_it_gives_up_again_and_again_is_slowed_and_others_are_not(site: Site) -> None:
    """The fourth call in a row without an answer has to wait; an answer lets the caller begin anew."""
    mallory, door, house = (site.person(fresh(name)) for name in ("mallory", "door", "house"))
    body = {"callee_identity": house.identity}
    calls = [mallory.call(house.identity) for _ in range(3)]
    slowed = mallory.ask("POST", routes.CALLS, body)
    assert (slowed.status_code, slowed.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(slowed.headers["Retry-After"]) <= 2
    assert mallory.get(calls[-1].call_id).status.is_terminal is False
    answered = door.call(house.identity)
    house.act(answered.call_id, "accept")
    house.act(answered.call_id, "end")
    house.act(calls[-1].call_id, "accept")
    house.act(calls[-1].call_id, "end")
    assert mallory.ask("POST", routes.CALLS, body).status_code == 201


def events_of(asker: Asker) -> requests.Response:
    """The head of an event stream; it goes on until it is closed."""
    url = asker.stack.base_url + routes.CALL_EVENTS
    return requests.get(url, headers=asker.headers, stream=True, timeout=TIMEOUT_S)


def test_key_when_it_made_its_calls_of_an_hour_makes_no_more_and_others_do() -> None:
    """Whoever holds one device's key cannot fill the engine's disk with calls to all the world."""
    small = LocalStack(open_key=False, limits={"enabled": True, "calls_per_hour_each": 3})
    with small as stack, contextlib.closing(Site(stack)) as site:
        mallory = site.person("mallory", key=stack.issue_key("mallory"))
        again = site.person("mallory", key=stack.issue_key("mallory"))
        for number in range(3):
            mallory.call(f"nobody-{number}")
        refused = mallory.ask("POST", routes.CALLS, {"callee_identity": "nobody-3"})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert mallory.ask("GET", routes.CALLS).status_code == 200
        assert again.call("nobody-3").call_id


def test_key_when_it_holds_its_number_gets_no_more(site: Site) -> None:
    """Calls, rooms, event streams and logins are counted by the key, whatever identities its holder makes up."""
    held = LocalStack(
        open_key=False,
        limits={
            "enabled": True, "logins_each": 4, "open_calls_each": 2, "rooms_each": 1, "event_streams_each": 2
        },
    )  # fmt: skip
    with held as stack, contextlib.closing(Site(stack)) as narrow_site:
        kiosks = stack.issue_key("kiosk-*", may_host=True)
        people = [narrow_site.person(f"kiosk-{number}", key=kiosks) for number in range(4)]
        door = narrow_site.person("door", key=stack.issue_key("door"))
        by_key = narrow_site.with_headers(X_App_Key=kiosks)

        def refused(answer: requests.Response) -> None:
            assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached"), answer.text
            assert int(answer.headers["Retry-After"]) >= 1

        refused(by_key.ask("POST", routes.AUTH_SESSION, {"identity": "kiosk-9"}))
        assert by_key.ask("POST", routes.AUTH_SESSION, {"identity": "kiosk-1"}).status_code == 200

        calls = [one.call("house") for one in people[:2]]
        refused(people[2].ask("POST", routes.CALLS, {"callee_identity": "house"}))
        assert door.call("house").call_id
        people[0].act(calls[0].call_id, "end")
        assert people[2].call("house").call_id

        room = {"identity": "kiosk-1", "type": "audio_room", "role": "host"}
        assert by_key.ask("POST", routes.TOKEN, {**room, "room_name": "one"}).status_code == 200
        assert by_key.ask("POST", routes.TOKEN, {**room, "room_name": "one"}).status_code == 200
        refused(by_key.ask("POST", routes.TOKEN, {**room, "room_name": "two"}))

        with events_of(people[0]) as first, events_of(people[1]) as second:
            assert (first.status_code, second.status_code) == (200, 200)
            refused(people[2].ask("GET", routes.CALL_EVENTS))
            with events_of(door) as other:
                assert other.status_code == 200

        def has_a_place() -> bool:
            with events_of(people[2]) as answer:
                return answer.status_code == 200

        eventually(has_a_place, "the streams that were closed left their places")
        every_refusal_is_declared(stack)


def test_packet_when_too_large_before_a_login_is_cut_off(narrow: LocalStack) -> None:
    """A CONNECT that says it is 250 MB long is not waited for: the broker closes the connection."""
    with socket.create_connection(("127.0.0.1", narrow.mqtt_port), timeout=5) as line:
        length = bytes((0x80, 0xE5, 0x9A, 0x77))  # 250,000,000 as MQTT writes it
        line.sendall(b"\x10" + length + b"\x00\x04MQTT\x05\xc2\x00\x3c\x00")
        with contextlib.suppress(ConnectionError):
            line.sendall(b"a" * 65_536)
            assert line.recv(16) in (b"", bytes((0xE0, 0x01, 0x95)))  # DISCONNECT: packet too large


def test_availability_when_larger_than_a_packet_may_be_is_not_kept(narrow: LocalStack, site: Site) -> None:
    """A device may retain its own availability, and not fill the broker with it."""
    login = mqtt_login(site, fresh("door"))
    cut: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set(login["username"], login["password"])
    client.on_disconnect = lambda client, userdata, flags, reason, properties: cut.append(str(reason))
    client.connect("127.0.0.1", narrow.mqtt_port)
    client.loop_start()
    try:
        eventually(client.is_connected, "it is connected")
        topic = login["topic"].rsplit("/", 1)[0] + "/availability"
        client.publish(topic, b"x" * 200_000, qos=1, retain=True)
        eventually(lambda: cut, "it is cut off")
    finally:
        client.disconnect()
        client.loop_stop()


def mqtt_login(site: Site, identity: str) -> dict[str, str]:
    answer = site.app().ask("POST", routes.AUTH_SESSION, {"identity": identity})
    assert answer.status_code == 200, answer.text
    return answer.json()["mqtt"]


def test_codes_when_tried_again_and_again_are_refused_by_address(site: Site) -> None:
    """Both steps count together, whatever id is asked for; who signs in is not concerned."""
    codes = []
    for number in range(6):
        path = routes.pairing_action(f"{number:016x}", "complete" if number % 2 else "meet")
        body = {"nonce": "0" * 32, "key_digest": "0" * 64, "proof": "0" * 64}
        answer = site.with_headers().ask("POST", path, body)
        codes.append(answer.json()["code"])
    assert codes == ["pairing_code_wrong"] * 4 + ["rate_limited"] * 2
    assert "Retry-After" in answer.headers
    assert site.app().ask("POST", routes.AUTH_SESSION, {"identity": "signs-in"}).status_code == 200
