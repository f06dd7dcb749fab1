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

    You see this when you catch it: what is raised is always one of the classes below.
    At fault: see the class.
    What to do: catch it to catch everything the SDK raises, and show `message`.
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
    """The engine was reached and answered no.

    You see this when the engine answers a status for which there is no class of its own below.
    At fault: the engine, or an older SDK.
    What to do: read `code` and `message`.
    """


class AuthenticationFailed(EngineError):
    """401: app id, app key or bearer is missing, wrong or expired.

    You see this when app id and app key belong to another engine, the key was changed, or this machine's
    clock is wrong.
    At fault: the configuration.
    What to do: compare app id, key and base URL with the engine's; `utdstream doctor` compares the
    clocks; then `authenticate` again.
    """


class PermissionDenied(EngineError):
    """403: known, but not allowed; see `is_banned`.

    You see this when a listener does what only a host may, a seat is locked, the call is somebody else's,
    or the identity is banned.
    At fault: nobody: the project's rules.
    What to do: `is_banned` tells a ban; otherwise ask a host.
    """


class FeatureDisabled(PermissionDenied):
    """403: the project does not have this capability switched on.

    You see this when the project has calls, video or one more room switched off, or the engine is too old
    for `start_any`.
    At fault: the project's settings.
    What to do: switch it on in the engine's `[project]`, or do without.
    """


class NotFound(EngineError):
    """404: no such room, call, participant, request or seat.

    You see this when a call is accepted whose id was wrong or forgotten, a room is entered that has
    ended, or an invitation is answered that is stale.
    At fault: nobody, when it has just ended.
    What to do: take the next one; a name that is never found is misspelled.
    """


class Conflict(EngineError):
    """409: the state of the call, seat or room does not allow it now.

    You see this when the callee is on another call, the caller gave up while you accepted, another device
    answered, or somebody else took the seat first.
    At fault: nobody: two wanted the same.
    What to do: look at the state as it is now, and ask again if it still makes sense.
    """


class InvalidRequest(EngineError):
    """422 or 400: the engine refused a field of the request.

    You see this when an identity, a room's name or metadata has a size or a character that the engine
    does not take.
    At fault: the program.
    What to do: correct the argument that the message names; asking again does not help.
    """


class RateLimited(EngineError):
    """429: too many requests, or too much held at a time; `retry_after_s` says how long to wait (None: not told).

    You see this when a loop asks without a pause, many devices share one key, one key has its number of
    calls, rooms, streams or logins (`code` is `limit_reached`), or a second device takes over a session too soon.
    At fault: the program, or an engine whose `[limits]` are too low for it.
    What to do: wait for `retry_after_s`, and ask less often; end what is held; have the limit raised.
    """

    def __init__(
        self,
        message: str,
        status_code: int | None = 429,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status_code, code)
        self.retry_after_s = retry_after_s


class PairingFailed(EngineError):
    """No device was paired: `code` says whether the pairing code is wrong, over, or somebody stands in between.

    You see this when `pair` is given a code that is wrong, was used, withdrawn, has run out or was ended by wrong
    attempts (`pairing_code_...`), or when what answers does not prove that it made the code (`engine_not_proven`).
    At fault: whoever typed the code, nobody when its time is over, or somebody on the network.
    What to do: have another code made by `utdstream engine pair`; when the engine is not proven, find out what
    answers at that address first.
    """


class CallNotAnswered(EngineError):
    """The call ended without an answer; `status` is rejected, busy, missed or ended.

    You see this when `wait_for_answer` or `start_any` waits, and the callee refuses, is busy, or does not
    answer within the ring time.
    At fault: nobody.
    What to do: read `status`, and tell the person at the device.
    """

    def __init__(self, status: UTDCallStatus, message: str | None = None) -> None:
        super().__init__(message or f"the call was not answered: it is {status.wire}")
        self.status = status


class TransportError(UTDStreamException, ConnectionError):
    """Nobody answered, or what answered was not an engine.

    You see this when several engines or calls were asked and none said anything; usually one of its two
    classes below.
    At fault: the network.
    What to do: as for `EngineUnreachable`.
    """


class EngineUnreachable(TransportError):
    """No usable answer from the engine: refused, unresolved, reset, not JSON, or HTTP 5xx.

    You see this when the engine is down or restarts, the base URL is wrong, there is no network, or a
    proxy answers in its place.
    At fault: the network or the engine.
    What to do: check the base URL with `curl BASE_URL/health`; try again later: nothing was changed, or
    it is undone.
    """


class TlsFailed(EngineUnreachable):
    """The engine was reached, and no encrypted connection came of it.

    You see this when the engine's certificate is of an authority that is not trusted here, has expired or is for
    another name, or when one side speaks TLS and the other does not.
    At fault: the configuration, or this machine's clock.
    What to do: what the message says: give the `ca_file`, renew the certificate, correct `base_url`. Never switch
    the check off.
    """


class DeadlineExceeded(TransportError, TimeoutError):
    """The call's `timeout` passed first; what was under way is undone in the background.

    You see this when name resolution hangs, the engine or the media server is slow, or a wait's fact does
    not come true in time.
    At fault: the network, or a `timeout` that is too short.
    What to do: try again, or give a longer `timeout`.
    """


class MediaError(UTDStreamException):
    """The media server's side of things.

    You see this when the media core or server refuses or does not answer something that has no class of
    its own below.
    At fault: the media server.
    What to do: try again; if it stays, look at livekit-server's log.
    """


class ConnectFailed(MediaError):
    """The media room could not be joined.

    You see this when livekit-server is down, its address cannot be reached from this device, UDP is
    blocked, or the token is another server's.
    At fault: the network or the stack.
    What to do: open the media ports; `utdstream engine up --lan` says which address it gives to devices;
    the call is ended on the engine already.
    """


class PublishRefused(MediaError):
    """The media server has not granted (or has withdrawn) the right to publish this.

    You see this when a viewer or listener switches a microphone or camera on, or a host took the right
    away.
    At fault: nobody: the engine grants the right.
    What to do: take a seat, ask for the stage, or wait for `can_publish`.
    """


class RoomLost(MediaError):
    """The media room ended while something was under way in it.

    You see this when the room is closed, the participant is removed, or the media server restarts while
    data is sent or statistics are asked for.
    At fault: nobody, or the stack.
    What to do: look at `connection` for the reason; rooms and live streams rejoin by themselves, a call
    is over.
    """


class UsageError(UTDStreamException, RuntimeError):
    """The program used the SDK in a way that cannot work.

    You see this when a second identity is used with one client, a room is connected twice, or a transport
    is started twice.
    At fault: the program.
    What to do: correct the order of the calls; asking again does not help.
    """


class SessionClosed(UsageError):
    """The object was disposed, or is not connected.

    You see this when something is asked of a session, room or client after `dispose`, before a connect,
    or while another thread hangs up.
    At fault: the program, or nobody when two threads act.
    What to do: make a new object; in a thread that was waiting, stop.
    """


class NotAuthenticated(UsageError):
    """`client.authenticate(identity=...)` has to come first.

    You see this when a session is asked for before anybody is signed in.
    At fault: the program.
    What to do: call `client.authenticate(identity=...)` first.
    """


class InvalidCallTransition(UsageError):
    """The call is not in a state in which this can be done.

    You see this when `start` is called in a session that is in a call, or `wait_for_answer` before any
    call.
    At fault: the program.
    What to do: `end()` the call first, or make another session.
    """


class WrongThread(UsageError):
    """A blocking call was made on the SDK's own loop thread, where it would wait for itself.

    You see this when code on the loop thread (a handler on the raw `UTDRoom.room`) calls a method that
    waits.
    At fault: the program.
    What to do: use `.subscribe(...)`, whose callbacks may block.
    """


class InvalidConfig(UsageError, ValueError):
    """An argument or a setting has the wrong type, range or format.

    You see this when a `timeout` is negative, a base URL has no scheme, a frame has another size than its
    format, or a package is not installed.
    At fault: the program or the configuration.
    What to do: the message names the argument, and what it may be.
    """


class DeviceError(UTDStreamException):
    """A microphone, speaker, camera or other piece of hardware failed or is missing.

    You see this when a card or camera is unplugged, in use elsewhere, or does not open in time; during a
    call it is not raised but said on `client.errors`, and the call goes on.
    At fault: the machine.
    What to do: `utd-device doctor` lists what is plugged in; switch the microphone or camera on again
    when it is back.
    """


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
    if code is not None and code.startswith("pairing_code_"):
        return PairingFailed(message, status_code, code)
    return _BY_STATUS.get(status_code, EngineError)(message, status_code, code)
