"""The rules of bans with a fixed clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from utdstream.engine.rules import bans
from utdstream.engine.rules.bans import Ban
from utdstream.engine.rules.refusals import Refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


def ban(identity: str = "bob", room: str | None = "lobby", *, lasts_s: int | None = None, id: int = 0) -> Ban:
    return Ban(id, identity, room, NOW, bans.end_of(NOW, lasts_s))


def test_ban_when_its_end_comes_holds_no_longer() -> None:
    """A ban holds until the moment it ends."""
    short = ban(lasts_s=10)
    assert short.is_active(NOW + 9 * SECOND)
    assert not short.is_active(NOW + 10 * SECOND)
    assert ban().is_active(NOW + timedelta(days=10_000))


def test_bans_when_several_hold_name_the_heaviest() -> None:
    """The heaviest ban is named."""
    short, long, endless = (ban(lasts_s=10), ban(lasts_s=20), ban())
    everywhere = ban(room=None, lasts_s=5)
    assert bans.heaviest([], NOW) is None
    assert bans.heaviest([short, long], NOW) is long
    assert bans.heaviest([long, endless], NOW) is endless
    assert bans.heaviest([endless, everywhere], NOW) is everywhere
    assert bans.heaviest([endless, everywhere], NOW + 6 * SECOND) is endless
    assert bans.heaviest([short], NOW + 11 * SECOND) is None


def test_identity_when_banned_hears_the_word_all_clients_know() -> None:
    """A banned one hears the word all clients know."""
    refusal = bans.refusal(Ban(1, "bob", "lobby", NOW, NOW + SECOND, "spam"))
    assert (refusal.status, refusal.code, refusal.message) == (403, "banned", "User is banned")
    assert refusal.details == {
        "room_name": "lobby",
        "reason": "spam",
        "expires_at": "2026-01-02T03:04:06.000Z",
    }


@pytest.mark.parametrize(
    ("actor", "actor_role", "target", "target_role", "code"),
    [
        ("ann", "host", "bob", "audience", None),
        ("ann", "host", "bob", "admin", None),
        ("ann", "host", "cat", "host", None),
        ("adam", "admin", "bob", "audience", None),
        ("adam", "admin", "eve", "admin", None),
        ("adam", "admin", "ann", "host", "forbidden"),
        ("adam", "admin", "cat", "host", "forbidden"),
        ("cat", "host", "ann", "host", "forbidden"),
        ("bob", "audience", "eve", "audience", "forbidden"),
        ("bob", "guest", "eve", "audience", "forbidden"),
        ("adam", "admin", "adam", "admin", "invalid_state"),
    ],
)
def test_ban_when_in_a_room_obeys_the_roles(
    actor: str, actor_role: str, target: str, target_role: str, code: str | None
) -> None:
    """The roles say which participant may ban which in Ann's room."""

    def check() -> None:
        bans.check_may_ban(actor, target, owner="ann", actor_role=actor_role, target_role=target_role)

    if code is None:
        check()
        return
    with pytest.raises(Refusal) as refusal:
        check()
    assert refusal.value.code == code


def test_ban_when_written_is_spelled_as_the_kits_read_it() -> None:
    """A row is spelled as the kits read it."""
    assert bans.row(Ban(7, "bob", None, NOW, None, "spam", "Bob")) == {
        "id": 7,
        "identity": "bob",
        "name": "Bob",
        "attributes": None,
        "room_name": None,
        "reason": "spam",
        "expires_at": None,
        "banned_at": "2026-01-02T03:04:05.000Z",
    }
