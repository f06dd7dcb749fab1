"""Call events as server-sent events, as a browser reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import requests
from engine_site import TIMEOUT_S, Asker, EventReader, Site, fresh

from utdstream._wire import messages, routes
from utdstream.models import UTDCallStatus
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


class Page:
    """A browser's `EventSource`: opens the stream, reads events one by one."""

    def __init__(self, asker: Asker, *, after: str | None = None, query: str = "", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if after is not None:
            named["Last-Event-ID"] = after
        self._session = requests.Session()
        self._session.headers.update(asker.headers)
        self.answer = self._session.get(
            asker.stack.base_url + routes.CALL_EVENTS + query, headers=named, stream=True, timeout=TIMEOUT_S
        )
        self.ids: list[str] = []
        self.fields: list[str] = []
        self._lines = self.answer.iter_lines(chunk_size=1)

    def next(self) -> messages.CallEvent:
        """The next event; fails when there is none in time."""
        event = self.read()
        assert event is not None, "the stream ended"
        return event

    def read(self) -> messages.CallEvent | None:
        """The next event, or None at the end of the stream."""
        for line in self._lines:
            name, _, value = line.partition(b": ")
            self.fields.append(name.decode())
            if name == b"id":
                self.ids.append(value.decode())
            elif name == b"data":
                event = messages.parse_call_event(value)
                assert event is not None
                assert str(event.seq) == self.ids[-1]
                return event
        return None

    def close(self) -> None:
        self.answer.close()
        self._session.close()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    site = Site(stack)
    yield site
    site.close()


@pytest.fixture(scope="module")
def stoppable(programs: None) -> Iterator[LocalStack]:
    """A stack whose engine and broker the tests stop; each leaves them running."""
    with LocalStack() as running:
        yield running


@pytest.fixture
def stoppable_site(stoppable: LocalStack) -> Iterator[Site]:
    site = Site(stoppable)
    yield site
    site.close()


def test_events_when_a_call_changes_arrive_in_order(site: Site) -> None:
    """The events of a call arrive in order."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with Page(house) as at_house, Page(door) as at_door:
        assert at_house.answer.status_code == 200
        assert at_house.answer.headers["Content-Type"].startswith("text/event-stream")
        assert at_house.answer.headers["Cache-Control"] == "no-store"
        call = door.call(house.identity, metadata={"line": "a\nb"})
        rung = at_house.next()
        assert (rung.event, rung.call.call_id) == (messages.CALL_INITIATED, call.call_id)
        assert rung.call.metadata == {"line": "a\nb"}
        assert "retry" in at_house.fields
        house.act(call.call_id, "accept")
        assert at_house.next().event == messages.CALL_ANSWERED_ELSEWHERE
        door.act(call.call_id, "end")
        over = at_house.next()
        assert (over.event, over.call.status) == (messages.CALL_ENDED, UTDCallStatus.ENDED)
        assert at_door.next().event == messages.CALL_ENDED
        assert [int(number) for number in at_house.ids] == sorted({int(n) for n in at_house.ids})


def test_reader_when_back_gets_what_it_missed(site: Site) -> None:
    """A reader that comes back gets what it missed."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    first = door.call(house.identity)
    with Page(house) as page:
        assert page.next().call.call_id == first.call_id
        last_seen = page.ids[-1]
    door.act(first.call_id, "end")
    second = door.call(house.identity)
    with Page(house, after=last_seen) as page:
        missed = [page.next() for _ in range(2)]
        assert [(event.event, event.call.call_id) for event in missed] == [
            (messages.CALL_CANCELLED, first.call_id),
            (messages.CALL_INITIATED, second.call_id),
        ]
        last_seen = page.ids[-1]
    with Page(house, after=last_seen) as page:
        door.act(second.call_id, "end")
        assert page.next().event == messages.CALL_CANCELLED


def test_page_when_opened_while_it_rings_is_told(site: Site) -> None:
    """A page that opens while it rings is told."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    over = door.call(house.identity)
    door.act(over.call_id, "end")
    call = door.call(house.identity)
    house.act(call.call_id, "ringing")
    for after in (None, "no number"):
        with Page(house, after=after) as page:
            assert page.next().call.call_id == call.call_id


def test_event_when_told_is_the_same_object_on_stream_and_broker(site: Site) -> None:
    """A stream and the broker carry the same object."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with EventReader(site.stack.mqtt_login(house.identity)) as device, Page(house) as page:
        call = door.call(house.identity)
        told = device.wait_for(messages.CALL_INITIATED, call.call_id)
        assert messages.encode_call_event(page.next()) == messages.encode_call_event(told)


def test_page_when_its_token_is_in_the_query_is_let_in(site: Site) -> None:
    """A page may send its token in the query."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    bearer = house.headers["Authorization"].removeprefix("Bearer ")
    call = door.call(house.identity)
    bare = Asker(site.stack, {})
    bare.headers.clear()
    query = f"?app_id={site.stack.app_id}&access_token={bearer}"
    with Page(bare, query=query) as page:
        assert page.next().call.call_id == call.call_id
    with Page(bare, query=query.replace(bearer, "wrong")) as page:
        assert (page.answer.status_code, page.answer.json()["code"]) == (401, "invalid_token")
    refused = requests.get(f"{site.stack.base_url}{routes.CALLS}{query}", timeout=TIMEOUT_S)
    assert refused.status_code == 401  # no other operation reads it there
    bare.close()
    log = site.stack.logs("engine")
    assert bearer not in log
    assert "access_token" not in log


def test_events_when_they_are_somebody_elses_are_refused(site: Site) -> None:
    """A user reads the own events, a server anybody's."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    for asker, query, status, code in (
        (door, f"?identity={house.identity}", 403, "identity_mismatch"),
        (site.server(), "", 422, "validation_failed"),
        (site.app(), "", 401, "missing_credentials"),
    ):
        answer = asker.ask("GET", routes.CALL_EVENTS + query)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    head = house.ask("HEAD", routes.CALL_EVENTS)
    assert head.status_code == 405
    with Page(site.server(), query=f"?identity={quote(house.identity)}") as page:
        assert page.next().call.call_id == call.call_id


def test_stream_when_its_reader_is_banned_from_the_project_ends(site: Site) -> None:
    """A ban from the project ends the stream."""
    house = site.person(fresh("house"))
    with Page(house) as page:
        assert site.server().ask("POST", routes.BAN, {"identity": house.identity}).status_code == 201
        assert page.read() is None
    with Page(house) as page:
        assert (page.answer.status_code, page.answer.json()["code"]) == (403, "banned")


def test_streams_when_too_many_of_one_identity_end_the_oldest(site: Site) -> None:
    """One identity has a limited number of streams and the oldest ends."""
    house = site.person(fresh("house"))
    with ExitStack() as pages:
        first = pages.enter_context(Page(house))
        for _ in range(8):
            pages.enter_context(Page(house))
        assert first.read() is None


def test_engine_when_a_stream_is_open_stops_without_waiting(
    stoppable: LocalStack, stoppable_site: Site
) -> None:
    """An open stream does not hold up the engine."""
    site = stoppable_site
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    first = door.call(house.identity)
    with Page(house) as page:
        page.next()
        last_seen = page.ids[-1]
        before = time.monotonic()
        stoppable.stop("engine")
        assert time.monotonic() - before < 2.0
        assert page.read() is None
    stoppable.start("engine")
    door.act(first.call_id, "end")
    stoppable.kill("engine")
    stoppable.start("engine")
    with Page(house, after=last_seen) as page:  # nothing is in memory: it comes from the calls
        event = page.next()
        assert (event.event, event.call.call_id) == (messages.CALL_CANCELLED, first.call_id)
    log = stoppable.logs("engine")
    assert "ERROR" not in log


def test_page_when_there_is_no_broker_hears_of_calls(stoppable: LocalStack, stoppable_site: Site) -> None:
    """Without a broker pages hear of calls."""
    site = stoppable_site
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    stoppable.kill("mqtt")
    with Page(house) as page:
        call = door.call(house.identity)
        assert page.next().call.call_id == call.call_id
    stoppable.start("mqtt")
