"""Credentials and rate limits, without a server."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from utdstream.engine import config
from utdstream.engine.api.fields import Fields, Query
from utdstream.engine.api.gate import Gate
from utdstream.engine.api.operations.table import Access
from utdstream.engine.api.request import Ask, Asker
from utdstream.engine.api.server import error_response
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.rules.refusals import Refusal

SETTINGS = config.EngineConfig(
    engine=config.EngineSection(database="unused", token_secret="ts"),
    project=config.ProjectSection(app_id="12", app_key="key", app_secret="secret"),
    livekit=config.LiveKitSection(api_key="lk", api_secret="livekit-secret-of-at-least-32-bytes"),
    limits=config.LimitsSection(requests_per_minute=2, mints_per_minute=1),
)


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw, "client": ("192.0.2.1", 1)})


def ask(asker: Asker, **body: object) -> Ask:
    return Ask(asker, {}, Query({}), Fields(body), None)


@pytest.fixture
def gate() -> Gate:
    return Gate(Tokens(SETTINGS), SETTINGS.limits)


def test_credential_when_shown_opens_what_it_should(gate: Gate) -> None:
    """Each credential opens what it should."""
    bearer = f"Bearer {Tokens(SETTINGS).bearer('door')}"
    everybody = {
        "key": {"X_App_Key": "key"},
        "secret": {"X_App_Secret": "secret"},
        "bearer": {"Authorization": bearer},
        "bearer and key": {"Authorization": bearer, "X_App_Key": "key"},
    }
    opens = {
        Access.MINT: {"key", "secret", "bearer and key"},
        Access.ANY: set(everybody),
        Access.USER: {"secret", "bearer", "bearer and key"},
        Access.SECRET: {"secret"},
    }
    for access, allowed in opens.items():
        for name, headers in everybody.items():
            gate = Gate(Tokens(SETTINGS), SETTINGS.limits)
            if name in allowed:
                asker = gate.asker(request(X_App_Id="12", **headers), access)
                assert asker.trusted is (name == "secret")
            else:
                with pytest.raises(Refusal) as refusal:
                    gate.asker(request(X_App_Id="12", **headers), access)
                assert refusal.value.status in (401, 403)


def test_mint_when_an_old_bearer_is_sent_along_does_not_look_at_it(gate: Gate) -> None:
    """A mint does not look at an old bearer."""
    asker = gate.asker(request(X_App_Id="12", X_App_Key="key", Authorization="Bearer old"), Access.MINT)
    assert asker == Asker()


def test_identity_when_too_fast_is_slowed_down_and_told_for_how_long(gate: Gate) -> None:
    """An identity is slowed down and told for how long."""
    door = ask(Asker(identity="door"))
    gate.count(door)
    gate.count(door)
    with pytest.raises(Refusal) as refusal:
        gate.count(door)
    assert refusal.value.code == "rate_limited"
    answer = error_response(refusal.value)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert b'"retry_after"' in answer.body
    gate.count(ask(Asker(identity="house")))


def test_mints_when_counted_are_so_by_identity_and_device(gate: Gate) -> None:
    """Mints are counted by identity and device."""
    gate.count_mint(ask(Asker(), identity="door", device_id="a"))
    gate.count_mint(ask(Asker(), identity="door", device_id="b"))
    with pytest.raises(Refusal):
        gate.count_mint(ask(Asker(), identity="door", device_id="a"))
    gate.count_mint(ask(Asker(trusted=True), identity="door", device_id="a"))


def test_address_when_guessing_credentials_is_slowed_down(gate: Gate) -> None:
    """An address that guesses credentials is slowed down."""
    codes = []
    for _ in range(3):
        with pytest.raises(Refusal) as refusal:
            gate.asker(request(X_App_Id="12", X_App_Secret="guess"), Access.USER)
        codes.append(refusal.value.code)
    assert codes == ["invalid_credentials", "invalid_credentials", "rate_limited"]


def test_limits_when_off_count_nothing() -> None:
    """Limits that are off count nothing."""
    gate = Gate(Tokens(SETTINGS), config.LimitsSection(enabled=False, requests_per_minute=1))
    for _ in range(50):
        gate.count(ask(Asker(identity="door")))
        gate.count_mint(ask(Asker(), identity="door"))


def test_actor_when_a_bearer_asks_is_fixed_and_a_server_names_one() -> None:
    """A bearer fixes the actor and a server names one."""
    assert ask(Asker(identity="door")).actor() == "door"
    assert ask(Asker(identity="door"), identity="door").actor() == "door"
    with pytest.raises(Refusal) as refusal:
        ask(Asker(identity="door"), identity="house").actor()
    assert refusal.value.code == "identity_mismatch"
    assert ask(Asker(trusted=True), identity="house").actor() == "house"
    with pytest.raises(Refusal) as refusal:
        ask(Asker(trusted=True)).actor()
    assert refusal.value.status == 422
