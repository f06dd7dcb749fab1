"""Every exception of the media core becomes one of ours, with one sentence and no secret."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from livekit import rtc

from utdstream._livekit.errors import TABLE, room_lost, translate
from utdstream.errors import ConnectFailed, MediaError, PublishRefused, RoomLost, SessionClosed

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkb29yIn0.c2lnbmF0dXJl"


def foreign_exceptions() -> set[type[Exception]]:
    """The exception classes that any module of livekit.rtc defines."""
    found: set[type[Exception]] = set()
    for module in pkgutil.walk_packages(rtc.__path__, "livekit.rtc."):
        if "._proto" in module.name or module.name.endswith(("jupyter", "_ffi")):  # IPython; no Python
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and value.__module__.startswith("livekit.")
            ):
                found.add(value)
    return found


def test_table_when_the_core_has_an_exception_names_it() -> None:
    """A new class in a new livekit fails here first."""
    assert foreign_exceptions() - set(TABLE) == set()
    assert len(TABLE) >= 12


@pytest.mark.parametrize("theirs", sorted(TABLE, key=str))
def test_translate_when_given_each_class_gives_ours(theirs: type[Exception]) -> None:
    """Also when it was made in an unusual way."""
    error = theirs.__new__(theirs)
    Exception.__init__(error, "it failed")
    ours = translate(error, "trying")
    assert type(ours) is TABLE[theirs]
    assert isinstance(ours, MediaError)
    assert str(ours).startswith("trying: ")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ("client error: 401 Unauthorized - invalid token", "same engine"),
        ("client error: 403 Forbidden", "refuses"),
        ("client error: 404 Not Found", "ended"),
        ("signal failure: timed out", "UDP"),
        ("tcp connect error: Connection refused (os error 111)", "nothing listens"),
        ("failed to lookup address: dns error", "host name"),
        ("could not resolve host", "host name"),
    ],
)
def test_translate_when_the_reason_is_known_says_what_to_do(found: str, says: str) -> None:
    """The core tells everything as text; what it means is added."""
    ours = translate(rtc.ConnectError(found), "joining the media room")
    assert type(ours) is ConnectFailed
    assert found in str(ours)
    assert says in str(ours)


@pytest.mark.parametrize("secret", [f"ws://sfu/rtc?access_token={TOKEN}&sdk=python", f"bad token '{TOKEN}'"])
def test_translate_when_the_text_holds_a_token_masks_it(secret: str) -> None:
    """Not even a part of it is in the message."""
    ours = translate(rtc.ConnectError(secret), "joining the media room")
    for part in TOKEN.split("."):
        assert part not in str(ours) + repr(ours)
    assert "***" in str(ours)


def test_translate_when_it_is_ours_already_changes_nothing() -> None:
    """A typed error passes through as it is."""
    ours = SessionClosed("left")
    assert translate(ours, "trying") is ours


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("no loop"), ValueError(), Exception("x")])
def test_translate_when_it_is_unknown_is_a_media_error(error: Exception) -> None:
    """The core raises bare AssertionErrors and Exceptions too; a message is never empty."""
    ours = translate(error, "publishing the camera")
    assert type(ours) is MediaError
    assert len(str(ours)) > len("publishing the camera: ")


def test_room_lost_when_the_room_was_left_from_here_is_a_closed_session() -> None:
    """`take_seat` in whose middle a signal's handler disposes: nothing was lost, the program closed it."""
    left = room_lost("publishing the microphone", "CLIENT_INITIATED")
    assert isinstance(left, SessionClosed)
    assert "publishing the microphone" in str(left)


def test_room_lost_when_made_names_what_was_under_way_and_why() -> None:
    """With LiveKit's own reason name."""
    assert isinstance(room_lost("send_data", "ROOM_DELETED"), RoomLost)
    assert "send_data" in str(room_lost("send_data", "ROOM_DELETED"))
    assert "ROOM_DELETED" in str(room_lost("send_data", "ROOM_DELETED"))
    assert "no reason" in str(room_lost("send_data", None))
    assert TABLE[rtc.ConnectError] is ConnectFailed
    assert PublishRefused in TABLE.values()
