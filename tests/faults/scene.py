"""One cell's stage: a door and a house behind the relay, and what each of the three witnesses has seen.

The witnesses: what the programs were told (`Side`), what the engine recorded (`engine_status`), what the peer saw
(the other `Side`). Nothing is judged here.
"""

from __future__ import annotations

import array
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from utdstream import (
    CallbackError,
    Devices,
    IncomingCall,
    IncomingCallInbox,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream._wire import routes
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import Faults

LIMIT_S = 5.0
"""Within so much after the fault both ends and the engine agree, and sound is back."""
PATIENCE_S = 30.0
"""A cell waits longer than its limit, so that what is late can be told from what never comes."""
CALL_S = 12.0
"""What a cell gives each call of the SDK."""
LATE_CALL_S = 3.0
"""A call of the SDK that returns so much after its deadline is taken for a hang."""
RESTART_S = 60.0
"""A part of the stack may take so long to be back: the fault goes on until then, however busy the machine is."""
_LOUD = 1000
_numbers = itertools.count(1)


class Ear(NullSpeaker):
    """A speaker that knows when it last played something loud."""

    def __init__(self) -> None:
        super().__init__()
        self.loud_at = 0.0

    def _play(self, pcm: bytes) -> None:
        if pcm and max(array.array("h", pcm)) > _LOUD:
            self.loud_at = time.monotonic()


@dataclass
class Told:
    """What one call of the SDK came to."""

    what: str
    took_s: float
    error: Exception | None


@dataclass
class Side:
    """One signed-in program: what it does, and all that it was told."""

    scene: Scene
    name: str
    ear: Ear = field(default_factory=Ear)
    told: list[Told] = field(default_factory=list)
    reported: list[CallbackError] = field(default_factory=list)
    states: list[UTDCallStatus | None] = field(default_factory=list)
    rung: list[IncomingCall] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    session: UTDCallSession | None = None
    inbox: IncomingCallInbox | None = None

    def __post_init__(self) -> None:
        stack = self.scene.faults.stack
        self.identity = f"{self.name}-{next(_numbers)}"
        self.client = UTDStreamClient(
            stack.app_id,
            stack.app_key,
            base_url=stack.base_url,
            devices=self.scene.devices(self.ear),
        )
        self.client.errors.subscribe(self.reported.append)
        self.client.authenticate(identity=self.identity, name=self.name)

    def listen(self) -> None:
        """Waits for rings from now on."""
        self.inbox = self.client.incoming_calls()
        self.inbox.ringing.subscribe(self.rung.append)
        self.inbox.cancelled.subscribe(lambda gone: self.cancelled.append(gone.call_id))
        self.inbox.connected.wait_for(True, timeout=PATIENCE_S)

    def call(self, callee: Side) -> None:
        """Rings there."""
        self.session = self.client.call_session(self.scene.kind)
        self._watch(self.session)
        session = self.session
        self.do("start", lambda: session.start(callee_identity=callee.identity, timeout=CALL_S))

    def accept(self) -> None:
        """Answers the newest ring."""
        incoming = self.rung[-1]

        def accept() -> None:
            self.session = incoming.accept(timeout=CALL_S)
            self._watch(self.session)

        self.do("accept", accept)

    def end(self) -> None:
        """Hangs up, or says no when it has not answered."""
        session = self.session
        if session is not None:
            self.do("end", lambda: session.end(timeout=CALL_S))
        elif self.rung:
            self.do("reject", lambda: self.rung[-1].reject(timeout=CALL_S))

    def do(self, what: str, act: Callable[[], object]) -> None:
        """Runs one call of the SDK; what it came to is in `told`."""
        began, error = time.monotonic(), None
        try:
            act()
        except Exception as caught:  # noqa: BLE001 - judged later: only typed ones are right
            error = caught
        self.told.append(Told(what, time.monotonic() - began, error))

    def last_error(self) -> Exception | None:
        """What the last call of the SDK raised, or None."""
        return self.told[-1].error if self.told else None

    @property
    def status(self) -> UTDCallStatus | None:
        """Where its call stands, as the program is told."""
        return self.session.status.value if self.session is not None else None

    @property
    def is_in_room(self) -> bool:
        """Whether it is connected to the call's room."""
        return self.session is not None and bool(self.session.connected.value)

    def has_heard_since(self, moment: float) -> bool:
        """Whether sound was played after that."""
        return self.ear.loud_at > moment

    def untyped(self) -> list[str]:
        """Whatever it was told that is no error of the SDK, or came long after its deadline."""
        wrong = [
            f"{self.name}: {told.what} raised {type(told.error).__name__}: {told.error}"
            for told in self.told
            if told.error is not None and not isinstance(told.error, UTDStreamException)
        ]
        wrong += [
            f"{self.name}: {told.what} took {told.took_s:.1f} s"
            for told in self.told
            if told.took_s > CALL_S + LATE_CALL_S
        ]
        return wrong + [
            f"{self.name}: {each.source} reported {type(each.error).__name__}: {each.error}"
            for each in self.reported
            if isinstance(each.error, (AssertionError, AttributeError, KeyError, TypeError))
        ]

    def twice_over(self) -> list[str]:
        """A call that went on after its end, by the states the program was told."""
        over = [state for state in self.states if state is not None and state.is_terminal]
        return (
            [f"{self.name} was told {[state and state.value for state in self.states]}"]
            if len(over) > 1
            else []
        )

    def dispose(self) -> None:
        """Ends its client."""
        self.do("dispose", self.client.dispose)

    def _watch(self, session: UTDCallSession) -> None:
        self.states.append(session.status.value)
        session.status.subscribe(lambda change: self.states.append(change.new))


class Scene:
    """A door, a house, and chance by the cell's seed."""

    def __init__(
        self,
        faults: Faults,
        seed: int,
        *,
        kind: UTDStreamType = UTDStreamType.AUDIO_CALL,
        devices: Callable[[Ear], Devices] | None = None,
    ) -> None:
        self.faults, self.kind = faults, kind
        self.devices = devices or (lambda ear: Devices(ToneMicrophone(700), ear))
        self.engine_host = urlsplit(faults.base_url).hostname
        self.random = random.Random(seed)
        self.door = Side(self, "door")
        try:
            self.house = Side(self, "house")
            self.house.listen()
        except BaseException:
            self.door.dispose()
            raise

    @property
    def call_id(self) -> str | None:
        """The call, as the caller knows it, or the callee."""
        if self.door.session is not None and self.door.session.call_id.value is not None:
            return self.door.session.call_id.value
        return self.house.rung[-1].call_id if self.house.rung else None

    def engine_status(self) -> UTDCallStatus | None:
        """What the engine has recorded; None for no call, and while it gives no answer."""
        call_id = self.call_id
        if call_id is None:
            return None
        try:
            said = self.faults.stack._ask("GET", f"{routes.CALLS}/{call_id}", None)
        except UTDStreamException:
            return None
        return UTDCallStatus(str(said["status"]))

    def is_over_everywhere(self) -> bool:
        """Whether all three say that the call has ended."""
        engine, door, house = self.engine_status(), self.door, self.house
        if engine is None or not engine.is_terminal or door.status is None or not door.status.is_terminal:
            return False
        if house.session is not None:
            return house.status is not None and house.status.is_terminal and not house.is_in_room
        return self.call_id in house.cancelled or not house.rung or house.last_error() is None

    def is_live_everywhere(self) -> bool:
        """Whether all three say that it goes on, and whoever is active is in its room."""
        engine, door, house = self.engine_status(), self.door, self.house
        if engine is None or engine.is_terminal or door.status is None or door.status.is_terminal:
            return False
        if house.session is None:
            return engine is not UTDCallStatus.ACTIVE and self.call_id not in house.cancelled
        return (
            engine is door.status is house.status is UTDCallStatus.ACTIVE
            and door.is_in_room
            and house.is_in_room
        )

    def both_heard_since(self, moment: float) -> bool:
        """Whether each has heard the other after that."""
        return self.door.has_heard_since(moment) and self.house.has_heard_since(moment)

    def witnesses(self) -> str:
        """What the three say now, as one line."""

        def of(side: Side) -> str:
            status = side.status
            return (
                f"{side.name} {status.value if status else None}{' in the room' if side.is_in_room else ''}"
            )

        engine = self.engine_status()
        return f"engine {engine.value if engine else None}, {of(self.door)}, {of(self.house)}"

    def dispose(self) -> None:
        """Ends both, at the same time."""
        threads = [threading.Thread(target=side.dispose) for side in (self.door, self.house)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CALL_S + LATE_CALL_S)
