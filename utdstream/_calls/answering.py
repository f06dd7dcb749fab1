"""How a call that rings is answered on this device (the inbox's port `CallAnswers`).

Owns: `RingAnswers`. Threads: any may call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from utdstream._calls.session import UTDCallSession
from utdstream._rest.api import EngineApi
from utdstream._session.warm_up import warm_up
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import start_thread
from utdstream.models import UTDStreamType


class RingAnswers:
    """How an incoming call is answered (the inbox's port `CallAnswers`)."""

    def __init__(
        self,
        session: Callable[[UTDStreamType], UTDCallSession],
        api: EngineApi,
        answering: Callable[[str], AbstractContextManager[None]],
        timeout_s: float,
    ) -> None:
        self._session = session
        self._api = api
        self._answering = answering
        self._timeout_s = timeout_s

    def prepare(self) -> None:
        """Loads the media core, which takes some tenths of a second: while it rings there is time."""
        warm_up()

    def accept(self, call_id: str, type: UTDStreamType, timeout: float | None) -> UTDCallSession:
        session = self._session(type)
        try:
            session.accept(call_id, timeout=timeout)
            return session
        except BaseException:  # its deadline has passed, or it shall not wait
            start_thread(session.dispose, "utdstream-dispose")
            raise

    def reject(self, call_id: str, timeout: float | None) -> None:
        self._say("reject", call_id, timeout)

    def busy(self, call_id: str, timeout: float | None) -> None:
        self._say("busy", call_id, timeout)

    def _say(self, action: str, call_id: str, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._timeout_s, action)
        with self._answering(call_id):
            self._api.refuse_call(call_id, action, deadline)
