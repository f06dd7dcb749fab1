"""The engine as an HTTP server: credentials, bad input, and a document that is true."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import jwt
import pytest
import requests
from engine_site import Asker, Site, fresh

from utdstream._wire import pairing, routes
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

BAD_BODIES = [
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"\xff\xfe\x00",
    b"\x00",
    b"[" * 30_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"identity": NaN}',
    b'{"identity": ' + b"9" * 5_000 + b"}",
    b'{"identity": "\\ud800", "callee_identity": "\\udfff", "room_name": "\\ud800"}',
    b'{"identity": "a\\u0000b", "callee_identity": "\\u0000", "room_name": "a\\u0000"}',
    b'{"identity": 1, "callee_identity": [], "caller_identity": {}, "room_name": 7, "data": 1}',
    b'{"identity": "", "callee_identity": "", "room_name": "", "data": ""}',
    b'{"identity": "x", "callee_identity": "y", "metadata": [], "room_name": "r", "data": []}',
    b'{"identity": "x", "callee_identity": "y", "metadata": {"a": 1e999}, "room_name": "r"}',
    b'{"identity": "x", "callee_identity": "y", "metadata": {"a": "\\ud800"}, "room_name": "r"}',
    b'{"identity": "x", "callee_identity": "y", "type": "\\u0000", "room_name": "r", "role": 5}',
    b'{"identity": "x", "room_name": "r", "seat_count": true, "type": "audio_room"}',
    b'{"identity": "x", "room_name": "r", "service": "rooms"}',
    b'{"identity": "x", "room_name": "r", "type": "video_call"}',
    b'{"identity": "%s", "callee_identity": "%s"}' % (b"x" * 4000, b"y" * 4000),
    '{"identity": "{0}", "callee_identity": "{0}"}'.replace("{0}", "🚪" * 128).encode(),
]


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    site = Site(stack)
    yield site
    site.close()


@pytest.fixture
def operations(site: Site) -> list[tuple[str, str, dict[str, object]]]:
    document = site.app().ask("GET", "/openapi.json").json()
    return [
        (method.upper(), path, {**described, "schemas": document["components"]["schemas"]})
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def test_engine_when_asked_says_that_it_lives(site: Site) -> None:
    """The engine says that it lives."""
    answer = site.with_headers().ask("GET", routes.HEALTH)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-App-Id": ""}, "invalid_credentials"),
        ({"X-App-Id": "0000000000"}, "invalid_credentials"),
        ({}, "missing_credentials"),
        ({"X-App-Key": "wrong"}, "invalid_credentials"),
        ({"X-App-Secret": "wrong"}, "invalid_credentials"),
        ({"X-App-Secret": "ü".encode().decode("latin-1")}, "invalid_credentials"),
    ],
)
def test_credentials_when_wrong_are_refused_everywhere(
    site: Site, headers: dict[str, str], code: str
) -> None:
    """Wrong credentials are refused everywhere."""
    asker = Asker(site.stack, headers)
    for method, path in (("POST", routes.TOKEN), ("POST", routes.AUTH_SESSION), ("GET", routes.CALLS)):
        answer = asker.ask(method, path, {"identity": "x"} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    asker.close()


def test_app_key_when_used_mints_and_no_more(site: Site) -> None:
    """The app key mints and no more."""
    for method, path in (("GET", routes.CALLS), ("POST", routes.CALLS), ("GET", routes.ROOMS)):
        answer = site.app().ask(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_credentials")


@pytest.mark.parametrize("bearer", ["", "x", "a.b.c", "ü".encode().decode("latin-1")])
def test_bearer_when_it_is_none_is_refused(site: Site, bearer: str) -> None:
    """A bearer that is none is refused."""
    answer = site.with_headers(Authorization=f"Bearer {bearer}").ask("GET", routes.CALLS)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def test_bearer_when_forged_is_refused(site: Site) -> None:
    """Without a signature, signed with what every device has, for others to read, or made of two that are good."""
    stack = site.stack
    good = site.person("door").headers["Authorization"].removeprefix("Bearer ")
    others = site.person("house").headers["Authorization"].removeprefix("Bearer ")
    said = {**jwt.decode(good, options={"verify_signature": False}), "sub": "house"}
    forged = [
        jwt.encode(said, "", algorithm="none"),
        jwt.encode(said, stack.app_key),
        jwt.encode(said, stack.livekit_api_secret),
        ".".join([good.split(".")[0], others.split(".")[1], good.split(".")[2]]),
    ]
    for bearer in forged:
        answer = site.with_headers(Authorization=f"Bearer {bearer}").ask("GET", routes.CALLS)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
        b"Content-Length: 4, 5\r\n\r\n{}  ",
        b"Content-Length: +4\r\n\r\n{}  ",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length : 4\r\n\r\n{}  ",
    ],
)
def test_request_when_its_length_is_said_twice_or_oddly_is_refused(site: Site, framing: bytes) -> None:
    """And no request behind it is read: a proxy might take that one for a part of the first."""
    host, port = site.stack.base_url.removeprefix("http://").split(":")
    behind = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=8) as line:
        line.sendall(b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\n" + framing + behind)
        heard = b""
        while piece := line.recv(65_536):
            heard += piece
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.count(b"HTTP/1.1 ") == 1


def test_bearer_when_reading_all_rooms_is_refused(site: Site) -> None:
    """A bearer cannot read all rooms."""
    answer = site.person(fresh("ann")).ask("GET", routes.ROOMS)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_body_when_bad_is_the_senders_fault(
    site: Site, operations: list[tuple[str, str, dict[str, object]]]
) -> None:
    """Whatever is posted wherever: an answer below 500, JSON, with a code when it is a refusal."""
    askers = (site.server(), site.person(fresh("ann")), site.app())
    for method, path, _ in operations:
        if method == "GET":
            continue
        place = re.sub(r"{\w+}", "x", path)
        for asker in askers:
            for raw in BAD_BODIES:
                answer = asker.ask(method, place, raw=raw)
                assert answer.status_code < 500, (method, path, raw[:60], answer.text)
                body = answer.json()
                assert answer.status_code < 300 or (body["code"] and body["message"]), (path, raw[:60])


@pytest.mark.parametrize(
    "segment", ["%00", "%ff", "%ed%a0%80", "..", "%2e%2e%2f", "a%0ab", "%", "x" * 300, "%F0%9F%9A%AA%2Fa"]
)
def test_path_when_bad_is_the_senders_fault(site: Site, segment: str) -> None:
    """Bad paths are the sender's fault."""
    for path in (
        f"{routes.CALLS}/{segment}",
        f"{routes.ROOMS}/x/participants/{segment}",
        f"{routes.ROOMS}/{segment}",
    ):
        answer = site.server().ask("GET", path)
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert answer.json()["code"]


def test_body_when_it_is_too_much_is_too_large(site: Site) -> None:
    """Too much is too large."""
    answer = site.app().ask("POST", routes.AUTH_SESSION, raw=b" " * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_path_or_method_when_unknown_has_a_code(site: Site) -> None:
    """Unknown paths and methods have codes."""
    nowhere = site.server().ask("GET", "/api/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    wrong = site.server().ask("PATCH", routes.CALLS)
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET, POST"


def test_pairing_address_when_opened_in_a_browser_says_what_to_do_with_it(site: Site) -> None:
    """There is no page behind it; the code is for a device."""
    answer = requests.get(site.stack.base_url + pairing.FRAGMENT_PATH, timeout=8)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "run `utdstream pair` or `sudo utd-device pair`" in answer.json()["message"]


@pytest.mark.parametrize("event", ["room_finished", "participant_left"])
def test_webhook_when_it_is_somebody_elses_is_refused(site: Site, event: str) -> None:
    """A webhook of somebody else is refused, whatever it names, and nothing comes of it."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call_id = door.call(house.identity).call_id
    forger = site.with_headers(Authorization="x")
    for room in ({}, {"room": {"name": call_id}}):
        body = {"event": event, **room, "participant": {"identity": door.identity}}
        assert forger.ask("POST", "/internal/livekit", body).status_code == 401
    assert door.get(call_id).ended_at is None


def test_webhook_when_it_is_of_a_call_that_is_over_is_not_read(site: Site) -> None:
    """The engine ended its room itself; whoever says so, nothing follows."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call_id = door.call(house.identity).call_id
    assert door.ask("POST", f"{routes.CALLS}/{call_id}/end").status_code == 200
    over = door.get(call_id)
    body = {"event": "room_finished", "room": {"name": call_id}}
    assert site.with_headers(Authorization="x").ask("POST", "/internal/livekit", body).status_code == 200
    assert door.get(call_id) == over


@pytest.mark.parametrize(
    "body", ["", "[]", "7", '{"event": {}}', '{"event": "room_finished", "room": []}', "\x00", 30_000 * "["]
)
def test_webhook_when_it_is_no_webhook_is_refused(site: Site, body: str) -> None:
    """Whatever its body is."""
    answer = requests.post(site.stack.base_url + "/internal/livekit", data=body, timeout=8)
    assert answer.status_code == 401


def test_operation_when_answered_is_as_the_document_says(
    site: Site, operations: list[tuple[str, str, dict[str, object]]]
) -> None:
    """Every operation answers what the document says."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    values = {
        "call_id": call.call_id,
        "room": "none",
        "identity": "nobody",
        "index": "0",
        "request_id": "1",
        "invitation_id": "1",
        "key_id": "key_1",
        "pairing_id": "0123456789abcdef",
    }
    bodies: list[object] = [None, {}, {"identity": house.identity, "callee_identity": fresh("other")}]
    for method, path, described in operations:
        place = re.sub(r"{(\w+)}", lambda found: values[found[1]], path)
        if "text/event-stream" in json.dumps(described["responses"]):
            continue  # its answer does not end
        for asker in (site.with_headers(), site.app(), door, house, site.server()):
            for body in bodies if method != "GET" else [None]:
                answer = asker.ask(method, place, body)
                responses = described["responses"]
                assert isinstance(responses, dict)
                assert str(answer.status_code) in responses, (method, path, answer.text)
                content = responses[str(answer.status_code)]["content"]
                assert answer.headers["Content-Type"] in content
                schema = content["application/json"]["schema"]
                check(answer.json(), schema, described["schemas"], f"{method} {path} {answer.status_code}")


def test_document_when_read_is_an_openapi_document(
    operations: list[tuple[str, str, dict[str, object]]],
) -> None:
    """The document is an OpenAPI document."""
    assert len(operations) >= 19
    ids = [described["operationId"] for _, _, described in operations]
    assert len(ids) == len(set(ids))
    for _, path, described in operations:
        assert path.startswith("/")
        assert described["responses"]
        assert isinstance(described["security"], list)


def check(value: object, schema: object, schemas: object, where: str) -> None:
    """The part of JSON Schema that the document uses."""
    assert isinstance(schema, dict)
    assert isinstance(schemas, dict)
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
        assert isinstance(schema, dict)
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "object": dict,
        "array": list,
        "null": type(None),
    }
    if "type" in schema:
        allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(isinstance(value, kinds[kind]) for kind in allowed), (where, value, schema)
    if "enum" in schema:
        assert value in schema["enum"], (where, value)
    if "const" in schema:
        assert value == schema["const"], (where, value)
    if isinstance(value, str) and "pattern" in schema:
        assert re.search(schema["pattern"], value), (where, value)
    if isinstance(value, dict):
        for name in schema.get("required", []):
            assert name in value, (where, name)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                check(value[name], inner, schemas, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for item in value:
            check(item, schema["items"], schemas, f"{where}[]")


def test_log_when_read_holds_no_credential(site: Site) -> None:
    """Mints, a whole call, refusals: nothing secret is in the engine's log."""
    identity = fresh("ann")
    minted = site.app().ask("POST", routes.AUTH_SESSION, {"identity": identity}).json()
    ann, bob = site.person(identity), site.person(fresh("bob"))
    call = ann.call(bob.identity)
    accepted = bob.act(call.call_id, "accept")
    ann.act(call.call_id, "end")
    bad = minted["user_token"][:-2]
    site.with_headers(Authorization=f"Bearer {bad}").ask("GET", routes.CALLS)
    log = site.stack.logs("engine")
    assert call.call_id in log
    assert identity in log
    secrets = [
        site.stack.app_key,
        site.stack.app_secret,
        site.stack.livekit_api_secret,
        minted["user_token"],
        minted["mqtt"]["password"],
        bad,
        call.token or "?",
        accepted.token or "?",
    ]
    assert not [secret for secret in secrets if secret in log]


@pytest.mark.parametrize("name", ["by-role", "seats", "participants", "..."])
def test_room_when_its_name_is_a_word_elsewhere_can_be_reached(site: Site, name: str) -> None:
    """What no participant may be called, a room may: its path can carry it."""
    body = {"identity": fresh("host"), "room_name": name, "type": "audio_room"}
    assert site.server().ask("POST", routes.TOKEN, body).status_code == 200
    assert site.server().ask("GET", f"{routes.ROOMS}/{name}").status_code == 200
    assert site.server().ask("DELETE", f"{routes.ROOMS}/{name}").status_code == 200
