"""What a call's methods raise is what their docstrings say."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import pytest
from small_engine import Answer, Hangup, Request, SmallEngine, reply

from utdstream import (
    InvalidCallTransition,
    UTDCallSession,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)

METHODS: dict[str, Callable[[UTDCallSession], object]] = {
    "start": lambda session: session.start(callee_identity="house", timeout=2),
    "start_any": lambda session: session.start_any(callee_identities=["house", "phone"], timeout=2),
    "accept": lambda session: session.accept("c1", timeout=2),
    "ringing": lambda session: session.ringing("c1", timeout=2),
    "reject": lambda session: session.reject("c1", timeout=2),
    "busy": lambda session: session.busy("c1", timeout=2),
}
REFUSALS = {
    "call_not_found": 404,
    "forbidden": 403,
    "invalid_state": 409,
    "rate_limited": 429,
    "validation_failed": 422,
    "internal": 500,
    "nobody answers": 0,
}


def said_of(method: str) -> str:
    """Returns what stands under `Raises:`, that of the method it refers to included."""
    text = (inspect.getdoc(getattr(UTDCallSession, method)) or "").partition("Raises:")[2]
    other = re.search(r"as `(\w+)`", text)
    return text + said_of(other[1]) if other is not None else text


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """Signs everybody in."""
    server = SmallEngine()
    server.respond = lambda request: reply({"user_token": "bearer"})
    yield server
    server.close()


@pytest.fixture
def session(engine: SmallEngine) -> Iterator[UTDCallSession]:
    """A session without a call."""
    with UTDStreamClient("app-1", "key", base_url=engine.url) as client:
        client.authenticate(identity="door")
        with client.call_session(UTDStreamType.AUDIO_CALL) as made:
            yield made


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("method", METHODS)
def test_method_when_the_engine_refuses_raises_what_it_says(
    engine: SmallEngine, session: UTDCallSession, method: str, code: str
) -> None:
    """Each error that an answer of the engine can become stands under `Raises:`."""

    def refuse(request: Request) -> Answer:
        if code == "nobody answers":
            raise Hangup
        return reply({"code": code, "message": "no"}, REFUSALS[code])

    engine.respond = refuse
    with pytest.raises(UTDStreamException) as refusal:
        METHODS[method](session)
    assert type(refusal.value).__name__ in said_of(method)


def test_wait_for_answer_when_the_start_failed_says_that_there_is_no_call(
    engine: SmallEngine, session: UTDCallSession
) -> None:
    """The call never came to be, so nobody can answer it."""
    engine.respond = lambda request: reply({"code": "forbidden", "message": "no"}, 403)
    with pytest.raises(UTDStreamException):
        session.start(callee_identity="house")
    with pytest.raises(InvalidCallTransition, match="there is no call"):
        session.wait_for_answer(timeout=1)
