"""Every error this SDK raises, as one tree.

Owns: the error classes, the table from engine answers to classes.
Imports: the standard library only. Any thread.

A message is one sentence: what was attempted, what was found, what to do. It may name identities and
ids; it never carries a token or a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utdstream.models import UTDCallStatus


class UTDStreamException(Exception):
    """Root of everything the SDK raises.

    `message` is the sentence for a person, `status_code` the HTTP status when an engine answered,
    `code` the engine's machine-readable word when it sent one.
    """

    def __init__(self, message: str, status_code: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.code = code

    @property
    def is_banned(self) -> bool:
        """True only for a real ban: the engine's code says so, or a 403 whose text does.

        A plain 403 is a refusal, not a ban (vendor SDK 0.2.0 changelog).
        """
        if self.code is not None:
            return self.code == "banned"
        return self.status_code == 403 and "banned" in self.message.lower()

    @property
    def is_rate_limited(self) -> bool:
        """True when the engine asked to slow down (HTTP 429)."""
        return self.status_code == 429


class EngineError(UTDStreamException):
    """The engine was reached and answered no."""


class AuthenticationFailed(EngineError):
    """401: app id, app key or bearer is missing, wrong or expired."""


class PermissionDenied(EngineError):
    """403: known, but not allowed; see `is_banned`."""


class FeatureDisabled(PermissionDenied):
    """403: the project does not have this capability switched on."""


class NotFound(EngineError):
    """404: no such room, call, participant, request or seat."""


class Conflict(EngineError):
    """409: the state of the call, seat or room does not allow it now."""


class InvalidRequest(EngineError):
    """422 or 400: the engine refused a field of the request."""


class RateLimited(EngineError):
    """429: too many requests; `retry_after_s` says how long to wait (None: not told)."""

    def __init__(
        self,
        message: str,
        status_code: int | None = 429,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status_code, code)
        self.retry_after_s = retry_after_s


class CallNotAnswered(EngineError):
    """The call ended without an answer; `status` is rejected, busy, missed or ended."""

    def __init__(self, status: UTDCallStatus, message: str | None = None) -> None:
        super().__init__(message or f"the call was not answered: it is {status.wire}")
        self.status = status


class TransportError(UTDStreamException, ConnectionError):
    """Nobody answered, or what answered was not an engine."""


class EngineUnreachable(TransportError):
    """No usable answer from the engine: refused, unresolved, reset, not JSON, or HTTP 5xx."""


class DeadlineExceeded(TransportError, TimeoutError):
    """The call's `timeout` passed first; what was under way is undone in the background."""


class MediaError(UTDStreamException):
    """The media server's side of things."""


class ConnectFailed(MediaError):
    """The media room could not be joined."""


class PublishRefused(MediaError):
    """The media server has not granted (or has withdrawn) the right to publish this."""


class RoomLost(MediaError):
    """The media room ended while something was under way in it."""


class UsageError(UTDStreamException, RuntimeError):
    """The program used the SDK in a way that cannot work."""


class SessionClosed(UsageError):
    """The object was disposed, or is not connected."""


class NotAuthenticated(UsageError):
    """`client.authenticate(identity=...)` has to come first."""


class InvalidCallTransition(UsageError):
    """The call is not in a state in which this can be done."""


class WrongThread(UsageError):
    """A blocking call was made on the SDK's own loop thread, where it would wait for itself."""


class InvalidConfig(UsageError, ValueError):
    """An argument or a setting has the wrong type, range or format."""


class DeviceError(UTDStreamException):
    """A microphone, speaker, camera or other piece of hardware failed or is missing."""


_BY_STATUS: dict[int, type[EngineError]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
_FEATURE_WORDS = ("not enabled", "not available", "is disabled", "disabled for")


def error_from_answer(
    status_code: int, message: str, code: str | None = None, retry_after_s: float | None = None
) -> UTDStreamException:
    """The typed error for one engine answer; works by status and text when `code` is missing."""
    if status_code == 429:
        return RateLimited(message, status_code, code, retry_after_s)
    if status_code == 403 and (
        code == "feature_disabled"
        or (code is None and any(words in message.lower() for words in _FEATURE_WORDS))
    ):
        return FeatureDisabled(message, status_code, code)
    if status_code >= 500:
        return EngineUnreachable(message, status_code, code)
    return _BY_STATUS.get(status_code, EngineError)(message, status_code, code)
