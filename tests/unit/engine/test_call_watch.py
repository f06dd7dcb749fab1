"""How long the engine's watch over call rooms waits for a party."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from utdstream.engine.flows import call_watch
from utdstream.engine.flows.call_watch import CallWatch
from utdstream.engine.media.sfu import Webhook
from utdstream.engine.rules import calls
from utdstream.models import UTDCallStatus, UTDStreamType

AWAY_S = 120.0
BOTH = frozenset({"door", "house"})


class Clock:
    """Time as the test says it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Engine:
    """What the watch asks, and what it does: one active call whose parties have been seen."""

    def __init__(self) -> None:
        now = datetime.now(timezone.utc)
        made = calls.new_call(
            call_id="call_1",
            type=UTDStreamType.AUDIO_CALL,
            caller="door",
            callee="house",
            now=now,
            ring_timeout_s=30.0,
            max_duration_s=3600.0,
        )
        active = replace(made.call, status=UTDCallStatus.ACTIVE, answered_at=now)
        self.record = replace(made, call=active, caller_seen=True, callee_seen=True)
        self.lost: list[str] = []

    def seen(self, call_id: str, present: frozenset[str]) -> calls.CallRecord:
        return self.record

    def leg_lost(self, call_id: str) -> None:
        self.lost.append(call_id)

    def age_s(self, call_id: str) -> float:
        return 0.0

    def somebody_left(self, call_id: str) -> None: ...

    def tell(self, record: object) -> None: ...

    def after(self, delay_s: float, name: str, work: object) -> None: ...

    def listen(self, heard: object) -> None: ...


def test_party_when_it_vanishes_again_is_waited_for_as_long_as_the_first_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first absence was over: nobody but its own arrival may have told so."""
    clock, engine = Clock(), Engine()
    monkeypatch.setattr(call_watch, "time", clock)
    anything: Any = engine
    watch = CallWatch(anything, anything, anything, anything, anything, anything, away_s=AWAY_S)

    def look(present: frozenset[str]) -> list[str]:
        watch._judge("call_1", present)
        return engine.lost

    watch.webhook(Webhook("participant_left", "call_1", "house"))
    clock.now += 20.0
    assert look(BOTH - {"house"}) == []
    watch.webhook(Webhook("participant_joined", "call_1", "house"))
    clock.now += AWAY_S
    watch.webhook(Webhook("participant_left", "call_1", "house"))
    clock.now += AWAY_S - 1.0
    assert look(BOTH - {"house"}) == []
    clock.now += 1.0
    assert look(BOTH - {"house"}) == ["call_1"]
