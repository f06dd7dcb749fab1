"""The doorbell as a program: one queue, one worker, the rules of `logic.py`, the SDK.

Owns: `Doorbell`. Threads: the main one is the worker and never waits for a network; `utd-connect` signs in for
ever; `utd-call` carries one call (`calls.py`); buttons, MQTT and callbacks only put events into the queue.
Adapters are reached through the registry.

1. A press is turned into `POST /calls` before anything else is done with it.
2. Nothing that is missing ends the program: engine, broker, card, camera, relay. The status says what is missing.
3. What a call of the past still says carries an old number and is thrown away.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from device import registry
from device.audio.sounds import LocalSounds
from device.config import MachineConfig
from device.doorbell import logic, snapshots
from device.doorbell.calls import Calls, Numbered, aside
from device.doorbell.logic import Command, Phase, Policy, Rules, State
from device.link import Link
from device.service import Heart, Service
from device.trigger.port import Button, Relay
from utdstream import Devices, IncomingCall, UTDStreamException, UTDStreamType
from utdstream.platform_audio import PlatformSpeaker

_log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 10.0
STOP_S = 2.0


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
        self._queue: queue.SimpleQueue[logic.Event | Numbered | None] = queue.SimpleQueue()
        self._heart = Heart(WORKER_PATIENCE_S)
        self.state = State(do_not_disturb=settings.do_not_disturb)
        self._problems: dict[str, str] = {}
        self._last_reason = ""
        self._limit_at: float | None = None
        self._given = (devices, button, relay)
        self._buttons: list[Button] = []
        self._relay: Relay | None = relay
        self._sounds: LocalSounds | None = None
        self._camera: Any = None
        self._home: Any = None
        self._link: Link | None = None
        self._calls: Calls | None = None
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
            self._connect(devices).start(service)
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()
        return 0

    def _connect(self, devices: Devices) -> Link:
        def ringing(incoming: IncomingCall) -> None:
            calls.waiting[incoming.call_id] = incoming
            self._queue.put(logic.CallToDoor(incoming.call_id, incoming.caller_identity))

        def cancelled(call_id: str) -> None:
            calls.waiting.pop(call_id, None)
            self._queue.put(logic.CallWithdrawn(call_id))

        settings = self._config.doorbell
        kind = UTDStreamType.VIDEO_CALL if settings.media == "video" else UTDStreamType.AUDIO_CALL
        link = Link(self._config, devices, ringing=ringing, cancelled=cancelled, changed=self._show)
        calls = Calls(link, kind, settings.ring_timeout_s, self._queue.put)
        self._link, self._calls = link, calls
        return link

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
            if isinstance(event, Numbered):
                if self._calls is not None and self._calls.is_present(event.number):
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
        calls = self._calls
        assert calls is not None  # the queue is read after `_connect` only
        for action in actions:
            self._perform(action, calls)
        if before.phase is Phase.TALKING and self.state.phase is Phase.REST:
            calls.hang_up()  # the other side did, mostly: what the session holds is freed
        if self._home is not None and before != self.state:
            self._home.call_state(self.state.phase.value)
            self._home.do_not_disturb(self.state.do_not_disturb)

    def _perform(self, action: logic.Action, calls: Calls) -> None:
        match action:
            case logic.Call(callees):
                calls.call(callees)
            case logic.Chime():
                if self._config.doorbell.chime:
                    self._play(self._config.doorbell.chime_file)
            case logic.Tell():
                self._tell()
            case logic.Limit(seconds):
                self._limit_at = None if seconds is None else time.monotonic() + seconds
            case logic.HangUp():
                calls.hang_up()
            case logic.Answer(call_id):
                calls.answer(call_id)
            case logic.Refuse(call_id, busy):
                calls.refuse(call_id, busy=busy)
            case logic.OpenDoor():
                self._open_door()
            case logic.NobodyAnswered(reason):
                self._last_reason = reason
                _log.info("nobody answered: %s", reason)
                if self._home is not None:
                    self._home.missed(reason)
                if self._config.doorbell.no_answer_file is not None:
                    self._play(self._config.doorbell.no_answer_file)

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
            aside(self._snapshot, "the picture of a press")

    def _snapshot(self) -> None:
        picture = self._camera.snapshot()
        settings = self._config.doorbell
        if settings.snapshot_folder is not None:
            snapshots.keep(picture, settings.snapshot_folder, settings.snapshot_keep)
        if self._home is not None:
            self._home.snapshot(picture)

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
        elif self._calls is not None and self._calls.fault:
            words = f"ready, but the last press failed: {self._calls.fault}"
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
        if self._link is not None and self._calls is not None:
            closers.append(self._calls.close)
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
