"""A room's sound on the session's speaker: it opens, fails, and closes behind its opening."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from facts import PATIENCE_S, eventually

from utdstream import CallbackError
from utdstream._livekit.listening import Listening
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.subscribing import Subscriber
from utdstream._threads.deadline import Deadline
from utdstream.media import PcmFormat


class SlowSpeaker:
    """Opens when the test says so; plays nothing by itself."""

    format = PcmFormat(48_000, 1)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.opening, self.may_open = threading.Event(), threading.Event()
        self.may_open.set()
        self.fails = False

    def start(self, source: Callable[[int], bytes]) -> None:
        self.opening.set()
        assert self.may_open.wait(PATIENCE_S)
        self.log.append("open")
        if self.fails:
            raise OSError("busy")

    def stop(self) -> None:
        self.log.append("close")


class Ear:
    """One listening of a test."""

    def __init__(self, speaker: SlowSpeaker) -> None:
        self.reports: list[CallbackError] = []
        self._loop = loop_thread()
        self._listening = self._loop.call(lambda: self._make(speaker), deadline=self._limit())

    def _make(self, speaker: SlowSpeaker) -> Listening:
        subscriber = Subscriber(self._loop, adaptive=True, auto_subscribe=True, linger_s=1.0)
        return Listening(self._loop, speaker, subscriber, self.reports.append)

    @staticmethod
    def _limit() -> Deadline:
        return Deadline(PATIENCE_S, PATIENCE_S, "the test")

    def open(self) -> None:
        self._loop.call(self._listening.open, deadline=self._limit())

    def close(self) -> threading.Event:
        """Begins to close; the event is set when it is closed."""
        closed = threading.Event()

        def close() -> None:
            self._listening.close().add_done_callback(lambda _: closed.set())

        self._loop.call(close, deadline=self._limit())
        return closed


@pytest.fixture
def speaker() -> SlowSpeaker:
    """One that opens at once, until the test says otherwise."""
    return SlowSpeaker()


def test_listening_when_closed_while_the_speaker_opens_ends_closed(speaker: SlowSpeaker) -> None:
    """The close waits for the opening: a speaker that plays for nobody is not left behind."""
    speaker.may_open.clear()
    ear = Ear(speaker)
    ear.open()
    assert speaker.opening.wait(PATIENCE_S)
    closed = ear.close()
    assert not closed.is_set()
    speaker.may_open.set()
    assert closed.wait(PATIENCE_S)
    assert speaker.log == ["open", "close"]


def test_listening_when_two_sessions_share_a_speaker_opens_it_once(speaker: SlowSpeaker) -> None:
    """The last one closes it."""
    one, two = Ear(speaker), Ear(speaker)
    one.open()
    two.open()
    eventually(lambda: speaker.log == ["open"], "it is open")
    assert one.close().wait(PATIENCE_S)
    assert two.close().wait(PATIENCE_S)
    assert speaker.log == ["open", "close"]


def test_listening_when_the_speaker_fails_reports_it(speaker: SlowSpeaker) -> None:
    """Nobody waits for a speaker: the call goes on, and `errors` says what is missing."""
    speaker.fails = True
    ear = Ear(speaker)
    ear.open()
    eventually(lambda: len(ear.reports) == 1, "it is reported")
    assert ear.reports[0].source == "speaker"
    assert ear.close().wait(PATIENCE_S)
    assert speaker.log == ["open"]
