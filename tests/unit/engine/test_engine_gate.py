"""Credentials and rate limits, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.requests import Request

from utdstream.engine import config
from utdstream.engine.api.fields import Fields, Query
from utdstream.engine.api.gate import Gate
from utdstream.engine.api.operations.table import Access
from utdstream.engine.api.request import Ask, Asker
from utdstream.engine.api.server import error_response
from utdstream.engine.clock import EPOCH
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.sqlite.database import SqliteStore

SETTINGS = config.EngineConfig(
    engine=config.EngineSection(database="unused", token_secret="ts"),
    project=config.ProjectSection(app_id="12", app_key="key", app_secret="secret"),
    livekit=config.LiveKitSection(api_key="lk", api_secret="livekit-secret-of-at-least-32-bytes"),
    limits=config.LimitsSection(requests_per_minute=2, mints_per_minute=1),
)


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw, "client": ("192.0.2.1", 1)})


def ask(asker: Asker, address: str = "192.0.2.1", **body: object) -> Ask:
    return Ask(asker, {}, Query({}), Fields(body), None, address=address)


@pytest.fixture(scope="module")
def store() -> Iterator[SqliteStore]:
    """One key that is for the door, one for kiosks, one that was revoked."""
    store = SqliteStore(":memory:")
    for key_id, identity in (("key_door", "door"), ("key_kiosks", "kiosk-*"), ("key_old", "door")):
        digest = Tokens(SETTINGS).digest_of_key(key_id)
        store.keys.insert(AppKey(key_id, key_id, digest, identity, False, ("lobby", "show-*"), EPOCH))
    store.keys.revoke("key_old", EPOCH)
    yield store
    store.close()


@pytest.fixture
def made_gate(store: SqliteStore) -> Callable[..., Gate]:
    def make(limits: config.LimitsSection = SETTINGS.limits, *, is_key_open: bool = True) -> Gate:
        return Gate(Tokens(SETTINGS), limits, store.keys, is_key_open=is_key_open)

    return make


@pytest.fixture
def gate(made_gate: Callable[..., Gate]) -> Gate:
    return made_gate()


def test_credential_when_shown_opens_what_it_should(made_gate: Callable[..., Gate]) -> None:
    """Each credential opens what it should."""
    bearer = f"Bearer {Tokens(SETTINGS).bearer('door', keys.OPEN_ID)}"
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
            gate = made_gate()
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


def test_limits_when_off_count_nothing(made_gate: Callable[..., Gate]) -> None:
    """Limits that are off count nothing."""
    gate = made_gate(config.LimitsSection(enabled=False, requests_per_minute=1))
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


def test_bearer_when_its_key_is_in_use_names_it(gate: Gate) -> None:
    """The rights of the key go with its user tokens."""
    bearer = f"Bearer {Tokens(SETTINGS).bearer('door', 'key_door')}"
    asker = gate.asker(request(X_App_Id="12", Authorization=bearer), Access.USER)
    assert asker.identity == "door"
    assert asker.key is not None
    assert asker.key_id == "key_door"


@pytest.mark.parametrize(
    ("key_id", "code"),
    [("key_old", "key_revoked"), ("key_that_never_was", "invalid_token"), ("", "invalid_token")],
)
def test_bearer_when_its_key_is_revoked_or_unknown_is_refused(gate: Gate, key_id: str, code: str) -> None:
    """A user token ends with its key, in the middle of its 24 hours."""
    bearer = f"Bearer {Tokens(SETTINGS).bearer('door', key_id)}"
    with pytest.raises(Refusal) as refusal:
        gate.asker(request(X_App_Id="12", Authorization=bearer), Access.USER)
    assert refusal.value.code == code


def test_open_key_when_off_mints_nothing_and_ends_its_bearers(made_gate: Callable[..., Gate]) -> None:
    """What is in every device is of no use any more; the secret and the keys of devices are."""
    gate = made_gate(is_key_open=False)
    for headers, code in (
        ({"X_App_Key": "key"}, "invalid_credentials"),
        ({"Authorization": f"Bearer {Tokens(SETTINGS).bearer('door', keys.OPEN_ID)}"}, "invalid_token"),
    ):
        with pytest.raises(Refusal) as refusal:
            gate.asker(request(X_App_Id="12", **headers), Access.ANY)
        assert refusal.value.code == code
    assert gate.asker(request(X_App_Id="12", X_App_Key="key_door"), Access.MINT).key_id == "key_door"
    server = f"Bearer {Tokens(SETTINGS).bearer('door', keys.SERVER_ID)}"
    assert gate.asker(request(X_App_Id="12", Authorization=server), Access.USER).identity == "door"


@pytest.mark.parametrize(
    ("key", "code", "what_to_do"),
    [
        ("key_old", "key_revoked", "give the device a new one"),
        ("key_that_never_was", "invalid_credentials", "use one made by"),
        ("", "invalid_credentials", "use one made by"),
        ("ü", "invalid_credentials", "use one made by"),
        ("key ", "invalid_credentials", "use one made by"),
    ],
)
def test_key_when_revoked_or_foreign_mints_nothing(
    made_gate: Callable[..., Gate], key: str, code: str, what_to_do: str
) -> None:
    """401 with its code and one sentence that says what to do, without the key."""
    with pytest.raises(Refusal) as refusal:
        made_gate().asker(request(X_App_Id="12", X_App_Key=key), Access.MINT)
    assert (refusal.value.status, refusal.value.code) == (401, code)
    assert what_to_do in refusal.value.message
    assert key != "key_that_never_was" or key not in refusal.value.message


@pytest.mark.parametrize("header", ["X-App-Id", "X-App-Key", "X-App-Secret", "Authorization"])
def test_credential_when_sent_twice_is_refused_by_its_name(gate: Gate, header: str) -> None:
    """Two that are the same, or a good one before a bad one: no proxy and no engine may each read another."""
    twice = [(header.lower().encode(), value) for value in (b"12", b"key_door")]
    raw = [(b"x-app-id", b"12"), (b"x-app-key", b"key_door"), *twice]
    with pytest.raises(Refusal, match=f"{header} stands twice") as refusal:
        gate.asker(Request({"type": "http", "method": "GET", "headers": raw}), Access.MINT)
    assert refusal.value.code == "invalid_credentials"


def test_key_when_revoked_after_its_credential_was_read_does_nothing(
    made_gate: Callable[..., Gate], store: SqliteStore
) -> None:
    """A body may take seconds to arrive: the key is looked at again after it."""
    gate = made_gate()
    key = AppKey("key_slow", "slow", Tokens(SETTINGS).digest_of_key("slow"), "slow", False, ("*",), EPOCH)
    store.keys.insert(key)
    headers = request(X_App_Id="12", X_App_Key="slow")
    asker = gate.asker(headers, Access.MINT)
    store.keys.revoke("key_slow", EPOCH)
    with pytest.raises(Refusal) as refusal:
        gate.check_key(ask(asker, identity="slow"), headers, mints=True)
    assert refusal.value.code == "key_revoked"


def test_key_when_used_for_other_identities_is_refused_and_slowed_down(gate: Gate) -> None:
    """Each attempt counts for the address: one cannot try them all."""
    headers = request(X_App_Id="12", X_App_Key="key_kiosks")
    asker = gate.asker(headers, Access.MINT)
    gate.check_key(ask(asker, identity="kiosk-1"), headers, mints=True)
    codes = []
    for identity in ("door", "kiosk", "kiosk"):
        with pytest.raises(Refusal) as refusal:
            gate.check_key(ask(asker, identity=identity), headers, mints=True)
        codes.append(refusal.value.code)
    assert codes == ["identity_mismatch", "identity_mismatch", "rate_limited"]


@pytest.mark.parametrize(
    ("room", "is_allowed"),
    [("lobby", True), ("p12_lobby", True), ("show-1", True), ("call_" + "0" * 24, True), ("attic", False)],
)
def test_room_when_in_the_path_is_one_of_the_keys_rooms(gate: Gate, room: str, is_allowed: bool) -> None:
    """Both spellings are one room; the room of a call is its parties', whatever their keys say."""
    headers = request(X_App_Id="12", Authorization=f"Bearer {Tokens(SETTINGS).bearer('door', 'key_door')}")
    asked = Ask(gate.asker(headers, Access.USER), {"room": room}, Query({}), Fields({}), None)
    if is_allowed:
        gate.check_key(asked, headers, mints=False)
    else:
        with pytest.raises(Refusal) as refusal:
            gate.check_key(asked, headers, mints=False)
        assert refusal.value.code == "forbidden"


def test_mints_when_each_is_for_another_identity_are_limited_by_key_and_address(
    made_gate: Callable[..., Gate],
) -> None:
    """Names and device ids are the asker's own words: with one key, or from one address, they win nothing."""
    limits = config.LimitsSection(mints_per_minute=100, mints_per_minute_each=3)
    gate = made_gate(limits)
    for number in range(3):
        gate.count_mint(ask(Asker(), identity=f"ghost-{number}", device_id=f"d{number}"))
    with pytest.raises(Refusal, match="Too many requests"):
        gate.count_mint(ask(Asker(), identity="another", device_id="new"))
    gate.count_mint(ask(Asker(), address="192.0.2.2", identity="another", device_id="new"))
    named = AppKey("key_x", "x", "", "ghost-*", False, (), EPOCH)
    for number in range(3):
        gate.count_mint(ask(Asker(key=named), identity=f"ghost-{number}"))
    with pytest.raises(Refusal, match="Too many requests"):
        gate.count_mint(ask(Asker(key=named), address="192.0.2.2", identity="ghost-3"))


def test_calls_when_made_without_end_are_limited_by_key_and_by_the_hour(
    made_gate: Callable[..., Gate],
) -> None:
    """Each stays in the history for months: requests alone are no limit that a disk could live with."""
    gate = made_gate(config.LimitsSection(calls_per_hour_each=3))
    named = AppKey("key_x", "x", "", "ghost-*", False, (), EPOCH)
    for number in range(3):
        gate.count_call(ask(Asker(f"ghost-{number}", key=named)))
    with pytest.raises(Refusal) as refusal:
        gate.count_call(ask(Asker("ghost-3", key=named), address="192.0.2.2"))
    assert refusal.value.code == "rate_limited"
    assert 1000 < (refusal.value.retry_after_s or 0) <= 1200
    gate.count_call(ask(Asker("door", key=AppKey("key_y", "y", "", "door", False, (), EPOCH))))
    for _ in range(10):
        gate.count_call(ask(Asker(trusted=True)))


def test_requests_when_each_is_in_another_name_are_limited_by_key_and_address(
    made_gate: Callable[..., Gate],
) -> None:
    """One key for many identities is one asker; user tokens that a server minted are one for each identity."""
    gate = made_gate(config.LimitsSection(requests_per_minute=100, requests_per_minute_each=3))
    named = AppKey("key_x", "x", "", "ghost-*", False, (), EPOCH)
    for number in range(3):
        gate.count(ask(Asker(f"ghost-{number}", key=named)))
        gate.count(ask(Asker(f"ghost-{number}")))
    for asker in (Asker("ghost-9", key=named), Asker("ghost-9")):
        with pytest.raises(Refusal, match="Too many requests"):
            gate.count(ask(asker))
    gate.count(ask(Asker("ghost-9"), address="192.0.2.2"))
    for number in range(9):
        gate.count(ask(Asker(f"user-{number}", is_vouched=True)))
        gate.count(ask(Asker(trusted=True)))


def test_codes_when_tried_one_after_the_other_are_slowed_down_by_address(
    made_gate: Callable[..., Gate],
) -> None:
    """Right or wrong, each request with a pairing code counts; another address is not concerned."""
    gate = made_gate(config.LimitsSection(pairings_per_minute_each=2))
    for _ in range(2):
        gate.count_pairing(request())
    with pytest.raises(Refusal) as refusal:
        gate.count_pairing(request())
    assert refusal.value.code == "rate_limited"
    elsewhere = Request({"type": "http", "method": "POST", "headers": [], "client": ("192.0.2.2", 1)})
    gate.count_pairing(elsewhere)
