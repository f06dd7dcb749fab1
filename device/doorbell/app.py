"""The doorbell as a program: one queue, one worker, the rules of `logic.py`, the SDK.

Owns: `Doorbell`. Threads: the main one is the worker and never waits for a network; `utd-connect` signs in for
ever; `utd-call` carries one call; buttons, MQTT and callbacks only put events into the queue. Adapters are reached
through the registry.

1. A press is turned into `POST /calls` before anything else is done with it.
2. Nothing that is missing ends the program: engine, broker, card, camera, relay. The status says what is missing.
3. What a call of the past still says carries an old number and is thrown away. A session that is ready too late
   for its call is freed at once: nobody listens at a door that says `ready`.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from device import registry
from device.audio.sounds import LocalSounds
from device.config import MachineConfig
from device.doorbell import logic, snapshots
from device.doorbell.logic import Command, Phase, Policy, Rules, State
from device.link import Link
from device.service import Heart, Service
from device.trigger.port import Button, Relay
from utdstream import (
    CallNotAnswered,
    Conflict,
    DataMessage,
    DeadlineExceeded,
    Devices,
    IncomingCall,
    TransportError,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.platform_audio import PlatformSpeaker

_log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 10.0
STOP_S = 2.0
OPEN_DOOR = {"type": "open_door"}
"""The whole data message, as JSON, with which the one who answered opens the door."""
_FINAL = {UTDCallStatus.ENDED, UTDCallStatus.REJECTED, UTDCallStatus.BUSY, UTDCallStatus.MISSED}


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An event of one call."""

    number: int
    event: logic.Event


class Doorbell:
    """One doorbell. `devices`, `button` and `relay` instead of the configured ones, for tests and other boards."""

    def __init__(
        self,
        config: MachineConfig,
        *,
        devices: Devices | None = None,
        button: Button | None = None,
        relay: Relay | None = None,
    ) -> None:
        settings = config.doorbell
        self._config = config
        self._rules = Rules(
            callees=settings.callees,
            at_once=settings.mode == "at_once",
            ring_timeout_s=settings.ring_timeout_s,
            call_limit_s=settings.call_limit_s,
            auto_answer=Policy(settings.auto_answer),
        )
        self._kind = UTDStreamType.VIDEO_CALL if settings.media == "video" else UTDStreamType.AUDIO_CALL
        self._queue: queue.SimpleQueue[logic.Event | _Numbered | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._heart = Heart(WORKER_PATIENCE_S)
        self.state = State(do_not_disturb=settings.do_not_disturb)
        self._problems: dict[str, str] = {}
        self._last_reason = ""
        self._fault: str | None = None
        self._lock = threading.Lock()  # the number of the present call and its session, as one; brief
        self._number = 0
        self._session: UTDCallSession | None = None
        self._limit_at: float | None = None
        self._waiting: dict[str, IncomingCall] = {}
        self._given = (devices, button, relay)
        self._buttons: list[Button] = []
        self._relay: Relay | None = relay
        self._sounds: LocalSounds | None = None
        self._camera: Any = None
        self._home: Any = None
        self._link: Link | None = None
        self._service: Service | None = None
        self._stopping = threading.Event()

    # -- for the service, buttons, Home Assistant: any thread, never waits

    def press(self) -> None:
        """The button was pressed."""
        self._queue.put(logic.Pressed())

    def command(self, word: str) -> None:
        """A command by its word; unknown ones are ignored."""
        try:
            self._queue.put(Command(word))
        except ValueError:
            _log.warning("an unknown command was ignored: %.40s", word)

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping.set()
        self._queue.put(None)

    # -- the worker

    def run(self, service: Service) -> int:
        """Works until `stop`. The exit status."""
        self._service = service
        service.watch("the doorbell's worker", self._heart.alive)
        try:
            devices = self._open()
            self._link = Link(
                self._config, devices, ringing=self._ringing, cancelled=self._cancelled, changed=self._show
            )
            self._link.start(service)
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()
        return 0

    def _turn(self) -> None:
        """One event, or the time limit; at least once a second the status is looked at."""
        left_s = 1.0 if self._limit_at is None else min(1.0, max(0.0, self._limit_at - time.monotonic()))
        try:
            event = self._queue.get(timeout=left_s)
        except queue.Empty:
            event = None
        self._heart.busy()
        try:
            if self._limit_at is not None and time.monotonic() >= self._limit_at:
                self._limit_at = None
                self._step(logic.TimeUp())
            if isinstance(event, _Numbered):
                if event.number == self._number:
                    self._step(event.event)
            elif event is not None:
                self._step(event)
            self._show()
        except Exception:  # noqa: BLE001 - the worker's outermost frame: the next press must still ring
            _log.exception("an event could not be handled; the doorbell goes on")
        finally:
            self._heart.idle()

    def _step(self, event: logic.Event) -> None:
        before = self.state
        self.state, actions = logic.step(before, event, self._rules)
        for action in actions:
            self._perform(action)
        if before.phase is Phase.TALKING and self.state.phase is Phase.REST:
            self._hang_up()  # the other side did, mostly: what the session holds is freed
        if self._home is not None and before != self.state:
            self._home.call_state(self.state.phase.value)
            self._home.do_not_disturb(self.state.do_not_disturb)

    def _perform(self, action: logic.Action) -> None:
        match action:
            case logic.Call(callees):
                self._begin(lambda number: self._call(number, callees))
            case logic.Chime():
                if self._config.doorbell.chime:
                    self._play(self._config.doorbell.chime_file)
            case logic.Tell():
                self._tell()
            case logic.Limit(seconds):
                self._limit_at = None if seconds is None else time.monotonic() + seconds
            case logic.HangUp():
                self._hang_up()
            case logic.Answer(call_id):
                self._begin(lambda number: self._answer(number, call_id))
            case logic.Refuse(call_id, busy):
                refused = self._waiting.pop(call_id, None)
                if refused is not None:
                    self._aside(refused.busy if busy else refused.reject, "refusing a call")
            case logic.OpenDoor():
                self._open_door()
            case logic.NobodyAnswered(reason):
                self._last_reason = reason
                _log.info("nobody answered: %s", reason)
                if self._config.doorbell.no_answer_file is not None:
                    self._play(self._config.doorbell.no_answer_file)

    # -- calls: `utd-call`

    def _begin(self, work: Callable[[int], None]) -> None:
        with self._lock:
            self._number = number = next(self._numbers)

        def run() -> None:
            try:
                work(number)
            except Exception as error:  # noqa: BLE001 - the outermost frame of this thread: the bell must learn of it
                _log.exception("a call failed")
                reason = f"{type(error).__name__}: {error}"
                self._post(number, logic.NotAnswered(reason))  # whichever fits what the call had come to
                self._post(number, logic.CallGone(reason))

        threading.Thread(target=run, name="utd-call", daemon=True).start()

    def _call(self, number: int, callees: tuple[str, ...]) -> None:
        """Rings, and reports what becomes of it."""
        ring_s = self._rules.ring_timeout_s
        session: UTDCallSession | None = None
        try:
            session = self._new_session(number, self._kind)
            if len(callees) == 1:
                session.start(callee_identity=callees[0])
                session.wait_for_answer(timeout=ring_s)
                peer = callees[0]
            else:
                peer = session.start_any(callee_identities=callees, timeout=ring_s).callee_identity or ""
            self._fault = None
            self._talk(number, session, peer)
        except UTDStreamException as error:
            rang = session is not None and session.status.value is not None
            self._fault = (
                None if isinstance(error, (CallNotAnswered, Conflict, TransportError)) else error.message
            )
            if isinstance(error, TransportError) and not rang and self._link is not None:
                self._link.doubt()
            self._post(number, logic.NotAnswered(reason_of(error)))
            if session is not None:
                session.dispose()

    def _answer(self, number: int, call_id: str) -> None:
        """Takes a call to the door."""
        incoming = self._waiting.pop(call_id, None)
        if incoming is None:
            self._post(number, logic.CallGone("the caller gave up"))
            return
        session: UTDCallSession | None = None
        try:
            session = self._new_session(number, incoming.type)
            session.accept(call_id)
            self._talk(number, session, incoming.caller_identity)
        except UTDStreamException as error:
            self._post(number, logic.CallGone(reason_of(error)))
            if session is not None:
                session.dispose()

    def _new_session(self, number: int, kind: UTDStreamType) -> UTDCallSession:
        """The session of this call. A hang-up from now on ends it. Raises: TransportError when there was one."""
        link = self._link
        assert link is not None
        session = link.client().call_session(kind)
        with self._lock:
            if number == self._number:
                self._session = session
                return session
        session.dispose()
        raise TransportError("the call was given up")

    def _talk(self, number: int, session: UTDCallSession, peer: str) -> None:
        """The call stands: who speaks to us, and when it is over."""
        session.messages.subscribe(lambda message: self._message(number, peer, message))
        session.status.subscribe(
            lambda change: self._post(number, logic.Ended()) if change.new in _FINAL else None
        )
        self._post(number, logic.Answered(peer))
        if session.status.value in _FINAL:
            self._post(number, logic.Ended())

    def _message(self, number: int, peer: str, message: DataMessage) -> None:
        """A message of the call. Exactly one asks for the door, and the media server says whose it is.

        Two who join in the same moment: LiveKit's core may not know the other one for many seconds, and then names
        no sender (seen with 1.2.1, when the other publishes nothing). The engine lets only two into a call's room,
        so somebody unknown is the peer; whoever is known by another name is refused by the rules.
        """
        try:
            asks = len(message.data) < 200 and json.loads(message.data) == OPEN_DOOR
        except (ValueError, RecursionError):
            return
        if asks:
            self._post(number, logic.OpenRequest(message.sender or peer))

    def _post(self, number: int, event: logic.Event) -> None:
        self._queue.put(_Numbered(number, event))

    def _hang_up(self) -> None:
        with self._lock:
            self._number = next(self._numbers)
            session, self._session = self._session, None
        if session is not None:
            self._aside(session.dispose, "hanging up")

    # -- calls to the door: the inbox's events thread

    def _ringing(self, incoming: IncomingCall) -> None:
        self._waiting[incoming.call_id] = incoming
        self._queue.put(logic.CallToDoor(incoming.call_id, incoming.caller_identity))

    def _cancelled(self, call_id: str) -> None:
        self._waiting.pop(call_id, None)
        self._queue.put(logic.CallWithdrawn(call_id))

    # -- devices

    def _open(self) -> Devices:
        """Opens what is configured; what cannot be opened is a problem, never an end."""
        given, button, _ = self._given
        if given is None:
            microphone, speaker = self._try("sound", lambda: registry.open_audio(self._config)) or (
                None,
                None,
            )
            given = Devices(
                microphone, speaker, self._try("camera", lambda: registry.open_camera(self._config))
            )
        if given.speaker is not None and not isinstance(given.speaker, PlatformSpeaker):
            self._sounds = LocalSounds(given.speaker)
            given = Devices(given.microphone, self._sounds, given.camera)
        self._camera = given.camera
        if self._relay is None and self._config.door.adapter != "none":
            made = registry.adapter("door", self._config.door.adapter)
            self._relay = self._try("door", lambda: made(self._config))
        wanted = [button] if button is not None else registry.make_buttons(self._config)
        for each in wanted:
            self._buttons.append(each)
            self._try("button", functools.partial(each.start, self.press))
        if self._config.home_assistant.enabled:
            from device.home_assistant import HomeAssistant

            self._home = self._try("Home Assistant", lambda: HomeAssistant(self._config, self.command))
            if self._home is not None:
                self._home.start()
                self._home.call_state(self.state.phase.value)
                self._home.do_not_disturb(self.state.do_not_disturb)
        return given

    def _try(self, what: str, work: Callable[[], Any]) -> Any:
        try:
            made = work()
        except UTDStreamException as error:
            self._problems[what] = error.message
            _log.warning("%s: %s", what, error)
            return None
        self._problems.pop(what, None)
        return made

    def _play(self, path: Any) -> None:
        if self._sounds is not None:
            sounds = self._sounds
            self._try("sound", lambda: sounds.play(path))

    def _open_door(self) -> None:
        if self._relay is None:
            _log.warning(
                "the door was to be opened, and there is no opener: see [door] in %s", self._config.path
            )
            return
        _log.info("the door is opened")
        self._relay.pulse()

    def _tell(self) -> None:
        if self._home is not None:
            self._home.ring()
        if self._camera is not None and (self._home is not None or self._config.doorbell.snapshot_folder):
            self._aside(self._snapshot, "the picture of a press")

    def _snapshot(self) -> None:
        picture = self._camera.snapshot()
        settings = self._config.doorbell
        if settings.snapshot_folder is not None:
            snapshots.keep(picture, settings.snapshot_folder, settings.snapshot_keep)
        if self._home is not None:
            self._home.snapshot(picture)

    def _aside(self, work: Callable[[], object], what: str) -> None:
        """Something that may wait for a network or a device, beside the worker."""

        def run() -> None:
            try:
                work()
            except (UTDStreamException, OSError, AttributeError) as error:
                _log.warning("%s failed: %s", what, error)

        threading.Thread(target=run, name="utd-aside", daemon=True).start()

    # -- what people see

    @property
    def status(self) -> str:
        """The state in plain words."""
        link = self._link
        missing = dict(self._problems)
        devices = (
            ("microphone", link and link.devices.microphone),
            ("speaker", self._sounds),
            ("camera", self._camera),
        )
        for name, device in devices:
            problem = getattr(device, "problem", None)
            if problem:
                missing[name] = str(problem)
        for each in self._buttons:
            if each.problem:
                missing["button"] = each.problem
        phase = self.state.phase
        words = phase.value
        if phase is Phase.CALLING:
            words = "calling " + ", ".join(
                self._rules.callees if self._rules.at_once else (self._rules.callees[self.state.turn],)
            )
        elif phase is Phase.TALKING:
            words = f"in a call with {self.state.peer}"
        elif link is not None and link.problem:
            words = link.problem
        elif self._fault:
            words = f"ready, but the last press failed: {self._fault}"
        elif not self._rules.callees:
            words = "ready, but nobody is named to be called: see [doorbell] callees"
        elif self.state.do_not_disturb:
            words = "ready, do not disturb"
        return "; ".join([words, *(f"{name}: {problem}" for name, problem in missing.items())])

    def _show(self) -> None:
        if self._service is not None:
            self._service.status(self.status)

    # -- the end

    def _close(self) -> None:
        """Bounded: what does not close in time is left to the end of the process."""
        for each in self._buttons:
            each.stop()
        closers: list[Callable[[], object]] = []
        if self._session is not None:
            closers.append(self._session.dispose)
        if self._link is not None:
            closers.append(self._link.close)
        if self._home is not None:
            closers.append(self._home.close)
        if self._relay is not None:
            closers.append(self._relay.close)
        threads = [threading.Thread(target=work, name="utd-close", daemon=True) for work in closers]
        for thread in threads:
            thread.start()
        until = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def reason_of(error: UTDStreamException) -> str:
    """Why a call did not come about, for people."""
    if isinstance(error, CallNotAnswered):
        return {"rejected": "declined", "busy": "busy", "missed": "no answer"}.get(error.status.wire, "ended")
    if isinstance(error, Conflict):
        return "busy"
    if isinstance(error, DeadlineExceeded):
        return "no answer"
    return error.message
