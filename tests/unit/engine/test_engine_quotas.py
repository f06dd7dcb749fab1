"""How much one key holds at a time, as counting alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from utdstream.engine.api.fields import Fields, Query
from utdstream.engine.api.quotas import Holdings, Quotas
from utdstream.engine.api.request import Ask, Asker
from utdstream.engine.clock import EPOCH
from utdstream.engine.config import LimitsSection
from utdstream.engine.rules.keys import AppKey, Login
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.sqlite.database import SqliteStore

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
KIOSKS = AppKey("key_kiosks", "k", "", "kiosk-*", False, (), EPOCH)


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    store = SqliteStore(":memory:")
    yield store
    store.close()


def ask(asker: Asker, address: str = "192.0.2.1") -> Ask:
    return Ask(asker, {}, Query({}), Fields({}), None, address=address)


def test_holder_when_it_has_its_number_gets_no_more_until_one_is_over() -> None:
    """Another holder is not concerned; what has ended leaves its place."""
    open_calls = {"a", "b", "c"}
    holdings = Holdings[str](2, "open calls", open_calls.__contains__)
    for call in ("a", "b"):
        with holdings.one_more("mallory") as keep:
            keep(call)
    with pytest.raises(Refusal, match="2 open calls") as refusal, holdings.one_more("mallory"):
        pass
    assert (refusal.value.code, refusal.value.status) == ("limit_reached", 429)
    assert refusal.value.retry_after_s
    with holdings.one_more("door") as keep:
        keep("c")
    open_calls.remove("a")
    with holdings.one_more("mallory"):
        pass


def test_holder_when_several_are_under_way_gets_no_place_twice() -> None:
    """What is being made has a place already; what failed gives it back."""
    holdings = Holdings[str](1, "rooms", lambda room: True)
    with holdings.one_more("mallory"), pytest.raises(Refusal), holdings.one_more("mallory"):
        pass
    with pytest.raises(OSError, match="no room"), holdings.one_more("mallory"):
        raise OSError("no room")
    with holdings.one_more("mallory") as keep:
        keep("lobby")
    with pytest.raises(Refusal), holdings.one_more("mallory"):
        pass


def test_server_when_it_asks_for_others_is_not_limited() -> None:
    """The app secret has no limit of this kind, and limits that are off have none for anybody."""
    for holdings, holder in ((Holdings[int](1, "x", bool), None), (Holdings[int](None, "x", bool), "door")):
        for number in range(1, 9):
            with holdings.one_more(holder) as keep:
                keep(number)


def test_logins_when_one_key_has_its_number_are_no_more(store: SqliteStore) -> None:
    """Those that are there are minted again; the count outlives the engine, because the store has it."""
    for number in range(3):
        store.logins.see(Login(f"kiosk-{number}", KIOSKS.id), NOW)
        store.logins.see(Login(f"other-{number}", "key_other"), NOW)
    quotas = Quotas(LimitsSection(logins_each=3), store)
    quotas.check_login(ask(Asker(key=KIOSKS)), Login("kiosk-1", KIOSKS.id))
    with pytest.raises(Refusal, match="3 broker logins"):
        quotas.check_login(ask(Asker(key=KIOSKS)), Login("kiosk-9", KIOSKS.id))
    Quotas(LimitsSection(enabled=False, logins_each=3), store).check_login(
        ask(Asker(key=KIOSKS)), Login("kiosk-9", KIOSKS.id)
    )


def test_logins_when_one_address_has_its_number_by_the_open_key_are_no_more(store: SqliteStore) -> None:
    """Another address gets one, and a server gets any number."""
    quotas = Quotas(LimitsSection(logins_each=2), store)
    for number in range(2):
        quotas.check_login(ask(Asker()), Login(f"ghost-{number}"))
        store.logins.see(Login(f"ghost-{number}"), NOW)
    quotas.check_login(ask(Asker()), Login("ghost-1"))
    with pytest.raises(Refusal, match="2 broker logins"):
        quotas.check_login(ask(Asker()), Login("ghost-2"))
    quotas.check_login(ask(Asker(), "192.0.2.2"), Login("ghost-2"))
    quotas.check_login(ask(Asker(trusted=True)), Login("ghost-3"))
