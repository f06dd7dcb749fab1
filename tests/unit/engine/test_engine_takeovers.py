"""Who may take over a session, and how soon."""

from __future__ import annotations

import asyncio

import pytest

from utdstream.engine.api.limits import MAX_KEYS, Claims
from utdstream.engine.api.takeovers import Takeovers
from utdstream.engine.config import LimitsSection
from utdstream.engine.rules.refusals import Refusal


def test_session_when_claimed_is_kept_for_its_device_for_a_while() -> None:
    """A session is kept for its device for a while."""
    claims = Claims(5.0)
    assert claims.wait_s("ann", "phone", 100.0) == 0.0
    claims.claim("ann", "phone", 100.0)
    assert claims.wait_s("ann", "phone", 100.0) == 0.0
    assert claims.wait_s("ann", "tablet", 102.0) == 3.0
    assert claims.wait_s("bob", "tablet", 102.0) == 0.0
    assert claims.wait_s("ann", "tablet", 105.0) == 0.0


def test_claim_when_repeated_begins_a_new_while() -> None:
    """Each claim begins a new while."""
    claims = Claims(5.0)
    claims.claim("ann", "phone", 100.0)
    claims.claim("ann", "tablet", 106.0)
    assert claims.wait_s("ann", "phone", 107.0) == 4.0


def test_claims_when_too_many_forget_the_oldest() -> None:
    """Claims are bounded."""
    claims = Claims(5.0)
    for number in range(MAX_KEYS + 1):
        claims.claim(number, "phone", 100.0)
    assert claims.wait_s(0, "tablet", 100.0) == 0.0
    assert claims.wait_s(MAX_KEYS, "tablet", 100.0) == 5.0


@pytest.mark.parametrize(
    ("is_there", "enabled", "second", "refused"),
    [
        (True, True, "tablet", True),
        (False, True, "tablet", False),
        (True, False, "tablet", False),
        (True, True, "phone", False),
        (True, True, None, False),
    ],
)
def test_takeover_when_claimed_waits_only_for_a_participant_who_is_there(
    is_there: bool, enabled: bool, second: str | None, refused: bool
) -> None:
    """A takeover waits only for somebody who is there."""

    async def is_present(room: str, identity: str) -> bool:
        return is_there

    async def mint_twice() -> None:
        takeovers = Takeovers(LimitsSection(enabled=enabled), is_present)
        await takeovers.claim("lobby", "ann", "phone")
        await takeovers.claim("lobby", "ann", second)

    if not refused:
        asyncio.run(mint_twice())
        return
    with pytest.raises(Refusal) as refusal:
        asyncio.run(mint_twice())
    assert (refusal.value.status, refusal.value.code) == (429, "session_takeover_cooldown")
    assert refusal.value.retry_after_s is not None
    assert 4.0 < refusal.value.retry_after_s <= 5.0
