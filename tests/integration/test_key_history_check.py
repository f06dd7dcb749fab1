"""The checker of a history of keys finds what is wrong with one."""

from __future__ import annotations

import pytest
from history import LOST
from key_history import Change, Use, check_keys

REVOKED = Change("key_1", 10.0, 11.0, 200)
MAYBE_REVOKED = Change("key_1", 10.0, 11.0, LOST)
NEW_SECRET = Change("", 10.0, 11.0, 200)


def use(sent: float, code: str = "", *, minted: float | None = None, key_id: str = "key_1") -> Use:
    """One of a second; `minted`: by the user token of a mint that took a second too."""
    span = None if minted is None else (minted, minted + 1)
    return Use(key_id, span, sent, sent + 1, 401 if code else 200, code)


@pytest.mark.parametrize(
    ("changes", "uses"),
    [
        ([], [use(1.0), use(2.0, minted=1.0), use(3.0, "already_seated", minted=1.0)]),
        ([REVOKED], [use(10.2), use(10.2, minted=1.0), use(9.5, "invalid_credentials")]),
        ([REVOKED], [use(12.0, "invalid_credentials"), use(12.0, "invalid_token", minted=1.0)]),
        ([REVOKED], [use(12.0, key_id="key_2")]),
        ([MAYBE_REVOKED], [use(12.0), use(14.0, "invalid_credentials"), use(16.0, "invalid_credentials")]),
        ([NEW_SECRET], [use(12.0), use(12.0, "invalid_token", minted=1.0), use(13.0, minted=10.5)]),
        ([NEW_SECRET], [use(13.0, "invalid_token", minted=10.5), use(10.5, minted=1.0)]),
        ([REVOKED], [Use("key_1", None, 12.0, 13.0, LOST)]),
    ],
)
def test_check_when_a_history_of_keys_is_sound_finds_nothing(changes: list[Change], uses: list[Use]) -> None:
    """What is at the same time may be before or after; what was never answered may be either."""
    assert check_keys(uses, changes) == []


@pytest.mark.parametrize(
    ("changes", "uses", "found"),
    [
        ([REVOKED], [use(11.0)], "succeeded"),
        ([REVOKED], [use(12.0, minted=1.0)], "succeeded"),
        ([REVOKED], [use(12.0, "already_seated", minted=1.0)], "succeeded"),
        ([MAYBE_REVOKED], [use(12.0, "invalid_credentials"), use(14.0, minted=1.0)], "succeeded"),
        ([NEW_SECRET], [use(12.0, minted=1.0)], "succeeded"),
        ([], [use(1.0, "invalid_credentials")], "refused"),
        ([REVOKED], [use(1.0, "invalid_token", minted=0.0)], "refused"),
        ([REVOKED], [use(12.0, "invalid_credentials", key_id="key_2")], "refused"),
        ([NEW_SECRET], [use(12.0, "invalid_credentials")], "refused"),
        ([NEW_SECRET], [use(13.0, "invalid_token", minted=12.0)], "refused"),
    ],
)
def test_check_when_a_history_of_keys_is_wrong_says_where(
    changes: list[Change], uses: list[Use], found: str
) -> None:
    """A success behind the end of its key, a refusal without one, and a key that came back to life."""
    said = check_keys(uses, changes)
    assert len(said) == 1
    assert said[0].startswith(found)
