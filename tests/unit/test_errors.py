"""The tree of errors, and which answer becomes which."""

from __future__ import annotations

import pytest

from utdstream import errors
from utdstream.errors import UTDStreamException, error_from_answer
from utdstream.models import UTDCallStatus


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, None, "bad", errors.InvalidRequest),
        (401, "token_expired", "expired", errors.AuthenticationFailed),
        (403, None, "You may not", errors.PermissionDenied),
        (403, "forbidden", "Recording is not enabled", errors.PermissionDenied),
        (403, "feature_disabled", "no", errors.FeatureDisabled),
        (403, None, "Video is not enabled for this project", errors.FeatureDisabled),
        (403, None, "Feature is disabled", errors.FeatureDisabled),
        (404, "call_not_found", "no such call", errors.NotFound),
        (409, "callee_busy", "busy", errors.Conflict),
        (413, None, "too large", errors.InvalidRequest),
        (422, "validation_failed", "bad", errors.InvalidRequest),
        (403, "pairing_code_wrong", "no", errors.PairingFailed),
        (410, "pairing_code_used", "no", errors.PairingFailed),
        (429, None, "slow down", errors.RateLimited),
        (418, None, "teapot", errors.EngineError),
        (500, "internal", "oops", errors.EngineUnreachable),
        (503, None, "down", errors.EngineUnreachable),
    ],
)
def test_answer_when_it_is_no_becomes_the_most_specific_error(
    status: int, code: str | None, message: str, kind: type[UTDStreamException]
) -> None:
    """By code when there is one, by status and text when there is none."""
    error = error_from_answer(status, message, code)
    assert type(error) is kind
    assert (error.status_code, error.code, error.message, str(error)) == (status, code, message, message)


@pytest.mark.parametrize(
    ("status", "code", "message", "banned"),
    [
        (403, "banned", "User is banned", True),
        (403, "banned", "anything", True),
        (403, None, "User is banned", True),
        (403, None, "You may not", False),
        (403, "forbidden", "User is banned", False),
        (404, None, "User is banned", False),
        (409, None, "banned", False),
    ],
)
def test_is_banned_when_it_is_a_plain_refusal_is_false(
    status: int, code: str | None, message: str, banned: bool
) -> None:
    """A 403 alone is no ban."""
    assert error_from_answer(status, message, code).is_banned is banned


def test_rate_limit_when_told_how_long_carries_it() -> None:
    """`retry_after_s` in seconds, None when not told."""
    error = error_from_answer(429, "slow", "rate_limited", 1.5)
    assert isinstance(error, errors.RateLimited)
    assert error.is_rate_limited
    assert error.retry_after_s == 1.5
    assert not error_from_answer(403, "no").is_rate_limited


def test_tree_when_listed_has_one_root_and_the_builtin_relatives() -> None:
    """Everything is a UTDStreamException; network errors and usage errors are their builtin kinds too."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 24
    assert all(issubclass(kind, UTDStreamException) for kind in kinds)
    assert issubclass(errors.TransportError, ConnectionError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.UsageError, RuntimeError)
    assert issubclass(errors.InvalidConfig, ValueError)


def test_call_not_answered_when_raised_says_what_became_of_the_call() -> None:
    """The status is there for the program, the word for the person."""
    error = errors.CallNotAnswered(UTDCallStatus.BUSY)
    assert error.status is UTDCallStatus.BUSY
    assert "busy" in str(error)
