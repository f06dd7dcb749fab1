"""Identities that could be taken for another one, at every entrance of the real engine."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_site import Site, fresh

from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]

LOOK_ALIKE = "d\u043eor"


@pytest.fixture
def site(stack: LocalStack) -> Iterator[Site]:
    site = Site(stack)
    yield site
    site.close()


def test_identity_when_it_looks_like_another_gets_in_nowhere(site: Site) -> None:
    """422 with the name of the field: nobody has it, is called, banned, seated or given a key by it."""
    server, app = site.server(), site.app()
    host, door = site.person(fresh("host")), site.person(fresh("door"))
    room = {"identity": host.identity, "room_name": "look-alikes", "type": "audio_room", "role": "host"}
    assert server.ask("POST", routes.TOKEN, {**room, "seat_count": 2}).status_code == 200
    entrances = (
        (app, routes.AUTH_SESSION, "identity", {}),
        (app, routes.TOKEN, "identity", {"room_name": "lobby", "type": "audio_room"}),
        (app, routes.TOKEN, "room_owner_id", {**room, "room_name": "other"}),
        (server, routes.KEYS, "identity", {}),
        (door, routes.CALLS, "callee_identity", {}),
        (server, routes.CALLS, "caller_identity", {"callee_identity": "house"}),
        (server, routes.BAN, "identity", {}),
        (host, routes.speakers("look-alikes", "invite"), "target_identity", {}),
    )
    for asker, path, field, more in entrances:
        answer = asker.ask("POST", path, {**more, field: LOOK_ALIKE})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), path
        assert f"{field} must not mix letters of Cyrillic and Latin" in answer.json()["message"]
    for field, value in (("identity", "d\u043e*"), ("allow_break_in", [LOOK_ALIKE])):
        answer = server.ask("POST", routes.KEYS, {"identity": "house", field: value})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_engine_when_its_database_holds_identities_of_before_serves_on() -> None:
    """Their history is read and their bans are lifted; they sign in no more, and the log names their key."""
    with LocalStack(open_key=False) as stack:
        key = stack.issue_key("placeholder")
        command = Path(f"/proc/{stack.pid('engine')}/cmdline").read_text().split("\0")
        file = Path(command[command.index("--config") + 1]).with_name("engine.db")
        stack.stop("engine")
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE app_keys SET identity = 'front door'")
            database.execute("INSERT INTO bans (identity, banned_ms) VALUES ('front door', 1)")
            database.commit()
        stack.start("engine")
        site = Site(stack)
        with contextlib.closing(site):
            answer = site.with_headers(X_App_Key=key).ask(
                "POST", routes.AUTH_SESSION, {"identity": "front door"}
            )
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
            assert "front-door" in answer.json()["message"]
            server = site.server()
            assert server.ask("GET", f"{routes.CALLS}?identity=front%20door").status_code == 200
            lifted = server.ask("DELETE", routes.BAN, {"identity": "front door"})
            assert (lifted.status_code, lifted.json()["removed"]) == (200, 1)
        warning = next(line for line in stack.logs("engine").splitlines() if "revoke it" in line)
        assert "key_" in warning
        assert "must not hold blanks" in warning
