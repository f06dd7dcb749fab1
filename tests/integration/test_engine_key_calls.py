"""What becomes of calls when the key of one side is revoked: each ends once, at the engine and on both sides."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from engine_site import Site, people_of
from facts import eventually
from people import small_devices

from utdstream import CallNotAnswered, UTDCallSession, UTDCallStatus, UTDStreamClient, UTDStreamType
from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]
S = UTDCallStatus
AT_ONCE_S = 5.0
"""A ring lasts thirty seconds, and a party may be away for three: this is neither."""


@pytest.fixture
def signed_in(closed: LocalStack) -> Iterator[Callable[[str], UTDStreamClient]]:
    """Makes clients, each with a new key of its own."""
    with ExitStack() as cleaning:

        def make(identity: str) -> UTDStreamClient:
            client = UTDStreamClient(
                closed.app_id,
                closed.issue_key(identity),
                base_url=closed.base_url,
                devices=small_devices(),
            )
            cleaning.callback(client.dispose)
            client.authenticate(identity=identity)
            return client

        yield make


def revoke(site: Site, identity: str) -> None:
    """Revokes the newest key of this identity."""
    rows = site.server().ask("GET", f"{routes.KEYS}?per_page=100").json()["data"]
    key_id = next(row["key_id"] for row in rows if row["identity"] == identity)
    assert site.server().ask("DELETE", routes.key(key_id)).status_code == 200


def history_of(session: UTDCallSession) -> list[str]:
    """The states that the session goes through from now on."""
    seen: list[str] = []
    session.status.subscribe(lambda change: seen.append(change.new.wire if change.new else ""))
    return seen


def ends_of(seen: list[str]) -> list[str]:
    """The states at the end of a call. A callback comes a moment after its fact."""
    return [state for state in seen if state not in ("initiating", "ringing", "active")]


def is_over(session: UTDCallSession) -> bool:
    return session.status.value in (S.ENDED, S.REJECTED, S.BUSY, S.MISSED)


def test_ring_when_the_callers_key_is_revoked_stops(
    site: Site, signed_in: Callable[[str], UTDStreamClient]
) -> None:
    """The callee is told at once; the caller's session ends too, once."""
    door, house = signed_in("door-1"), signed_in("house-1")
    inbox = house.incoming_calls()
    inbox.connected.wait_for(True, timeout=10)
    cancelled: list[str] = []
    inbox.cancelled.subscribe(lambda cancel: cancelled.append(cancel.call_id))
    session = door.call_session(UTDStreamType.VIDEO_CALL)
    session.start(callee_identity="house-1")
    ring = inbox.ringing.wait(timeout=10)
    seen = history_of(session)
    revoke(site, "door-1")
    over = site.server().get(ring.call_id)
    assert (over.status, over.end_reason) == (S.ENDED, "caller_cancelled"), "when the revocation is answered"
    eventually(lambda: cancelled == [ring.call_id], "the house is silent", AT_ONCE_S)
    eventually(lambda: is_over(session), "the caller's session is over", AT_ONCE_S)
    eventually(lambda: ends_of(seen) == ["ended"], "the caller is told, once")


def test_ring_when_the_only_key_of_the_callee_is_revoked_ends_at_the_caller(
    site: Site, signed_in: Callable[[str], UTDStreamClient]
) -> None:
    """It can be answered no more: the caller is told now, not when the ring time is over."""
    door, house = signed_in("door-2"), signed_in("house-2")
    inbox = house.incoming_calls()
    inbox.connected.wait_for(True, timeout=10)
    session = door.call_session(UTDStreamType.VIDEO_CALL)
    session.start(callee_identity="house-2")
    ring = inbox.ringing.wait(timeout=10)
    revoke(site, "house-2")
    over = site.server().get(ring.call_id)
    assert (over.status, over.end_reason) == (S.ENDED, "callee_hangup")
    with pytest.raises(CallNotAnswered) as refused:
        session.wait_for_answer(timeout=AT_ONCE_S)
    assert refused.value.status is S.ENDED


def test_ring_when_the_callee_has_another_key_goes_on(
    site: Site, signed_in: Callable[[str], UTDStreamClient]
) -> None:
    """A lost telephone of the house does not end what rings at the others."""
    door, kept, _lost = signed_in("door-3"), signed_in("house-3"), signed_in("house-3")
    inbox = kept.incoming_calls()
    inbox.connected.wait_for(True, timeout=10)
    session = door.call_session(UTDStreamType.VIDEO_CALL)
    session.start(callee_identity="house-3")
    ring = inbox.ringing.wait(timeout=10)
    revoke(site, "house-3")
    ring.accept()
    assert session.wait_for_answer(timeout=10).status is S.ACTIVE


@pytest.mark.parametrize("whose", ["door", "house"])
def test_call_when_the_key_of_one_side_is_revoked_ends_once_on_both(
    site: Site, signed_in: Callable[[str], UTDStreamClient], whose: str
) -> None:
    """One terminal state at the engine, the same on either side, and nobody in the media room."""
    door, house = signed_in(f"door-{whose}"), signed_in(f"house-{whose}")
    inbox = house.incoming_calls()
    inbox.connected.wait_for(True, timeout=10)
    calling = door.call_session(UTDStreamType.VIDEO_CALL)
    calling.start(callee_identity=f"house-{whose}")
    ring = inbox.ringing.wait(timeout=10)
    answering = ring.accept()
    calling.wait_for_answer(timeout=10)
    seen = history_of(calling), history_of(answering)
    revoke(site, f"{whose}-{whose}")
    over = site.server().get(ring.call_id)
    assert (over.status, over.end_reason) == (
        S.ENDED,
        "caller_hangup" if whose == "door" else "callee_hangup",
    )
    eventually(lambda: is_over(calling) and is_over(answering), "both sides are over", AT_ONCE_S)
    eventually(lambda: not people_of(site.stack, ring.call_id), "nobody is in its room", AT_ONCE_S)
    eventually(lambda: [ends_of(states) for states in seen] == [["ended"], ["ended"]], "both are told, once")
    assert site.server().get(ring.call_id).rev == over.rev, "nothing happened to it afterwards"


def test_request_when_the_key_is_revoked_while_its_body_comes_does_nothing(site: Site) -> None:
    """The credential is looked at again before anything is done."""
    key = site.stack.issue_key("slow")
    minted = site.with_headers(X_App_Key=key).ask("POST", routes.AUTH_SESSION, {"identity": "slow"}).json()
    body = json.dumps({"callee_identity": "house", "type": "audio_call"}).encode()
    connection = http.client.HTTPConnection(site.stack.base_url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", routes.CALLS)
    for name, value in {
        routes.HEADER_APP_ID: site.stack.app_id,
        "Authorization": f"Bearer {minted['user_token']}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body[:5])
    revoke(site, "slow")
    connection.send(body[5:])
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (401, "key_revoked")
    connection.close()
