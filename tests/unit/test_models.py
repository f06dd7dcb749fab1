"""Values: frozen, and silent about secrets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from utdstream.models import (
    MqttLogin,
    SessionMint,
    UTDCall,
    UTDCallStatus,
    UTDStreamType,
    UTDTokenResponse,
)

CANARY = "eyJhbGciOiJ.canary"
LOGIN = MqttLogin(host="h", port=1, username="u", topic="t", password=CANARY)


@pytest.mark.parametrize(
    "value",
    [
        UTDTokenResponse(token=CANARY, url="wss://x", room_name="r", user_token=CANARY),
        LOGIN,
        SessionMint(user_token=CANARY, mqtt=LOGIN),
        UTDCall("c", UTDCallStatus.ACTIVE, UTDStreamType.VIDEO_CALL, token=CANARY),
    ],
)
def test_repr_when_a_value_holds_a_secret_masks_it(value: object) -> None:
    """Neither repr, str nor an f-string tells a token or a password."""
    assert CANARY not in repr(value)
    assert CANARY not in f"{value} {[value]}"


def test_value_when_made_never_changes() -> None:
    """Snapshots may be kept and passed between threads."""
    with pytest.raises(FrozenInstanceError):
        LOGIN.port = 2


def test_status_when_final_says_so() -> None:
    """Three states are open, four are final."""
    final = {status for status in UTDCallStatus if status.is_terminal}
    assert {status.wire for status in final} == {"ended", "rejected", "busy", "missed"}


def test_type_when_asked_knows_calls_and_video() -> None:
    """Two are calls, two have video."""
    assert [kind.wire for kind in UTDStreamType if kind.is_call] == ["audio_call", "video_call"]
    assert [kind.wire for kind in UTDStreamType if kind.has_video] == ["video_call", "live_stream"]
