"""What an app key may do, as rules alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from utdstream._wire import app_keys
from utdstream.engine import config
from utdstream.engine.clock import EPOCH
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal


@pytest.mark.parametrize(
    ("pattern", "text", "does_match"),
    [
        ("door", "door", True),
        ("door", "door2", False),
        ("door", "Door", False),
        ("kiosk-*", "kiosk-1", True),
        ("kiosk-*", "kiosk-", True),
        ("kiosk-*", "kiosk", False),
        ("kiosk-*", "a kiosk-1", False),
        ("*", "anybody", True),
        ("a*b", "acb", False),
        ("a*b", "a*b", True),
        ("[ab]", "a", False),
    ],
)
def test_pattern_when_compared_knows_a_star_at_the_end_alone(
    pattern: str, text: str, does_match: bool
) -> None:
    """No other sign has a meaning, and case counts."""
    assert keys.matches(pattern, text) is does_match


def test_break_in_when_a_key_of_the_callee_allows_it_is_allowed() -> None:
    """Each key in use that is for the callee counts; a caller's own key says nothing, a revoked one neither."""
    house = AppKey("key_1", "h", "1", "house", False, (), EPOCH, allow_break_in=("door", "gate-*"))
    rooms = replace(house, id="key_2", identity="room-*", allow_break_in=("*",))
    other = replace(house, id="key_3", allow_break_in=("flat",))
    everybody = (house, rooms, other)
    for callee, caller in (("house", "door"), ("house", "gate-2"), ("house", "flat"), ("room-7", "anybody")):
        assert keys.may_break_in(everybody, callee, caller)
    for callee, caller in (("house", "mallory"), ("door", "house"), ("flat", "door")):
        assert not keys.may_break_in(everybody, callee, caller)
    assert not keys.may_break_in([replace(house, revoked_at=EPOCH)], "house", "door")


def test_room_pattern_when_no_room_could_match_is_refused() -> None:
    """A mistake is said where it is made."""
    for pattern in ("*", "show-*", "lobby"):
        assert keys.checked_room_pattern(pattern) == pattern
    for pattern in ("a b", "*show", "a*b", "..", "x" * 200):
        with pytest.raises(Refusal, match="rooms"):
            keys.checked_room_pattern(pattern)


def test_digest_when_the_project_is_another_is_another() -> None:
    """A database that outlived its project lets no old key in."""
    assert app_keys.digest_of("key", "1") != app_keys.digest_of("key", "2")


@pytest.mark.parametrize(
    ("host", "media", "broker", "wish", "is_open"),
    [
        ("127.0.0.1", "ws://127.0.0.1:1", "127.0.0.1", None, True),
        ("localhost", "ws://[::1]:1", "localhost", None, True),
        ("127.0.0.1", "ws://127.0.0.1:1", "127.0.0.1", False, False),
        ("0.0.0.0", "ws://127.0.0.1:1", "127.0.0.1", None, False),
        ("::", "ws://127.0.0.1:1", "127.0.0.1", None, False),
        ("127.0.0.1", "wss://media.example.com", "127.0.0.1", None, False),
        ("127.0.0.1", "ws://127.0.0.1:1", "192.0.2.1", None, False),
        ("0.0.0.0", "ws://192.0.2.1:1", "192.0.2.1", True, True),
    ],
)
def test_open_key_when_not_set_is_on_where_all_is_loopback(
    host: str, media: str, broker: str, wish: bool | None, is_open: bool
) -> None:
    """One address that others reach is enough to switch it off; what is written down wins."""
    settings = config.EngineConfig(
        engine=config.EngineSection(database="unused", token_secret="ts", host=host),
        project=config.ProjectSection(app_id="12", app_key="key", app_secret="s", open_key=wish),
        livekit=config.LiveKitSection(api_key="lk", api_secret="ls", public_url=media),
        mqtt=config.MqttSection(password="p", public_host=broker),
    )
    assert settings.is_key_open is is_open
