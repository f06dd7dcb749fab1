"""Starts and watches one stack: livekit-server, mosquitto, the engine and, with TLS, the proxy, each a child.

Owns: the processes, the ports until they are bound, the restart after a death nobody asked for.
What the programs are told is in `programs`; where they are found in `binaries`. Imports the standard
library and its neighbours, never asyncio.

1. One thread (`utdstream-supervisor`) starts, signals and reaps every child, and outlives them all: the
   kernel kills a child when the thread that started it ends (`leash`), which is what leaves nothing
   behind when this process is killed with -9.
2. A child has a session of its own, so Ctrl-C in a terminal reaches the parent alone, which then stops the
   children in order.
3. A part that was stopped or killed here stays down until it is started here. Any other death is said
   (WARNING, `on_event`) and undone, with a growing pause, on the same ports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING

from utdstream.backoff import Backoff
from utdstream.engine.stack import binaries, broker_files, ready
from utdstream.engine.stack.child import Child, stop_in_order
from utdstream.engine.stack.child_log import log_of
from utdstream.engine.stack.ports import PARTS, PORT_KINDS, Part
from utdstream.engine.stack.programs import commands_of, concerned_by, write_configuration
from utdstream.engine.stack.proxy import take_certificate
from utdstream.engine.stack.reserved_ports import all_of, reserve_ports
from utdstream.engine.stack.settings import StackSettings, port_names
from utdstream.errors import InvalidConfig, SessionClosed, UTDStreamException
from utdstream.mailbox import Mailbox

if TYPE_CHECKING:
    from utdstream.engine.stack.certificates import Certificate

_log = logging.getLogger(__name__)

_TICK_S = 0.1
_RESTART = Backoff(first_s=0.2, most_s=10.0)
_STABLE_AFTER_S = 30.0
_START_ATTEMPTS = 3
_ANSWERS_WITHIN_S = 20.0
_TAKEN = ("address already in use", "Address already in use", "EADDRINUSE", "[Errno 98]")


class StackError(UTDStreamException):
    """The stack, or a part of it, did not start."""


class _PortLost(StackError):
    """Another program took a freely chosen port between its choice and the bind."""


@dataclass(frozen=True, slots=True)
class PartEvent:
    """Something happened to a part: `kind` is "died", "restarted" (a new process) or "back" (it answers)."""

    part: Part
    kind: str
    detail: str
    pid: int | None = None


class Supervisor:
    """One stack: `start`, then `stop`; a context manager. All methods: any thread, `stop` twice is fine.

    `on_event` is called from the supervisor's own thread, which it must not block; it may call `stop`.
    """

    def __init__(
        self, settings: StackSettings, *, on_event: Callable[[PartEvent], None] | None = None
    ) -> None:
        self._wanted = settings
        self._settings = settings
        self._on_event = on_event
        self._requests: Mailbox[tuple[Callable[[], None], Future[None]]] = Mailbox()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._children: dict[Part, Child] = {}
        self._certificate: Certificate | None = None

    @property
    def settings(self) -> StackSettings:
        """With every port filled in, once started."""
        return self._settings

    def start(self, *, timeout: float = 20.0) -> None:
        """All parts, answering. Blocks, to `timeout`.

        Raises: StackError (also for a program that is missing), PortTaken, InvalidConfig.
        """
        with self._lock:
            if self._thread is not None or self._done.is_set():
                raise SessionClosed("this stack was started before; make a new one")
            self._thread = threading.Thread(target=self._run, name="utdstream-supervisor", daemon=True)
            self._thread.start()
        deadline = time.monotonic() + timeout
        try:
            for attempt in range(1, _START_ATTEMPTS + 1):
                try:
                    self._start_all(deadline)
                    return
                except _PortLost:
                    self._call(self._stop_children)
                    if attempt == _START_ATTEMPTS:
                        raise
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """No process and no port is left when this returns. Idempotent. Blocks: 9 s at most."""
        with self._lock:
            thread = self._thread
        if thread is None:
            self._done.set()
            return
        if thread is threading.current_thread():
            self._shut_down()
            return
        with contextlib.suppress(SessionClosed):
            self._call(self._shut_down)
        thread.join(timeout=10.0)

    def stop_part(self, part: Part) -> None:
        """The part, stopped in good order; it stays down until `start_part`. Blocks: 4 s at most."""
        self._call(lambda: stop_in_order([self._child(part)]))

    def kill_part(self, part: Part) -> None:
        """The part, killed (SIGKILL); it stays down until `start_part`."""
        self._call(lambda: self._child(part).kill())

    def start_part(self, part: Part, *, timeout: float = 20.0) -> None:
        """The part, answering again on the same ports. Nothing when it runs. Raises: StackError."""
        child = self._child(part)
        self._call(child.spawn)
        self._wait_ready(child, time.monotonic() + timeout)

    def renew(self, settings: StackSettings, *, timeout: float = 20.0) -> tuple[Part, ...]:
        """Gives the parts a new project and new secrets: those concerned are stopped and started again.

        Returns them. Blocks: some seconds, to `timeout`. Raises: StackError when one does not answer by then: it
        is started again until it does.
        """
        concerned = concerned_by(self._settings, settings)
        self._settings = dataclasses.replace(
            self._settings, project=settings.project, secrets=settings.secrets
        )
        if not concerned:
            return ()
        deadline = time.monotonic() + timeout
        parts = tuple(part for part in PARTS if part in concerned)
        for part in ("engine", "mqtt"):
            if part in concerned:
                self.stop_part(part)
        write_configuration(self._settings, binaries.find_dynsec_plugin().path)
        for part in sorted(parts, key=("mqtt", "engine", "livekit").index):
            # The media server last: a device that loses it asks the engine, which must be there. Killed: asked to
            # stop it waits for its rooms to be empty, four seconds without media for all.
            if part == "livekit":
                self.kill_part(part)
            self._begin_again(part, deadline)
        return parts

    @property
    def certificate(self) -> Certificate | None:
        """What this stack shows to devices; None without TLS."""
        return self._certificate

    def renew_certificate(self) -> bool:
        """Looks after the certificate of a stack with TLS; whether there is a new one, which the proxy then shows.

        Blocks: a second at most. Raises: InvalidConfig, and the old one stays, when one that was given is not in
        order.
        """
        before, self._certificate = self._certificate, _certificate(self._settings)
        if before == self._certificate:
            return False
        if self.is_running("proxy") and not take_certificate(self._settings):
            self.stop_part("proxy")
            self._begin_again("proxy", time.monotonic() + _ANSWERS_WITHIN_S)
        return True

    def is_running(self, part: Part) -> bool:
        """Whether the part has a process."""
        return self._child(part).running

    def pid(self, part: Part) -> int | None:
        """The process id of the part, None while it is down."""
        return self._child(part).pid

    def responds(self, *, timeout: float) -> bool:
        """Whether the supervisor's own thread answers within `timeout` seconds. Blocks, to `timeout`."""
        if self._thread is None or self._done.is_set():
            return False
        answer: Future[None] = Future()
        self._requests.put((lambda: None, answer))
        return bool(wait([answer], timeout=timeout).done)

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the caller's thread

    def _start_all(self, deadline: float) -> None:
        try:
            livekit = binaries.find_livekit_server().path
            broker = binaries.find_mosquitto().path
            plugin = binaries.find_dynsec_plugin().path
            proxy = binaries.find_haproxy().path if self._wanted.tls.is_on else None
        except binaries.ProgramMissing as error:
            raise StackError(str(error)) from error
        self._settings, held = reserve_ports(self._wanted)
        try:
            settings = self._settings
            if proxy is not None:
                self._certificate = _certificate(settings)
            write_configuration(settings, plugin)
            commands = commands_of(settings, livekit=livekit, broker=broker, proxy=proxy)
            self._children = {
                part: Child(
                    part, commands[part], log_of(settings, part), held[part], settings.users.get(part)
                )
                for part in settings.parts
            }
            self._children["mqtt"].prepare = self._mend_broker
            for child in self._children.values():
                self._call(child.spawn)
        finally:
            for reservation in all_of(held):
                reservation.release()
        for child in self._children.values():
            self._wait_ready(child, deadline)

    def _mend_broker(self, said: str) -> None:
        broker_files.mend(self._settings, could_not_read=broker_files.CANNOT_READ in said)

    def _wait_ready(self, child: Child, deadline: float) -> None:
        is_first = child.part == "mqtt"
        while True:
            if child.ended is not None and is_first and broker_files.CANNOT_READ in child.log_tail():
                is_first = False
                self._call(child.spawn)
            if child.ended is not None:
                raise self._start_failure(child)
            failure = ready.failure(child.part, self._settings)
            if failure is None:
                self._call(lambda: self._watch(child))
                return
            if time.monotonic() > deadline:
                raise StackError(f"{child.part} does not answer ({failure}); {child.log_tail()}")
            if self._done.wait(0.02):
                raise SessionClosed("the stack was stopped while it was starting")

    def _begin_again(self, part: Part, deadline: float) -> None:
        """Starts a part that was stopped for something new. It is watched from its birth on: one that does not
        come up must not end a stack that ran. Raises: StackError when it does not answer by then.
        """
        child = self._child(part)
        self._call(child.spawn_watched)
        while child.unanswered:
            if time.monotonic() > deadline:
                failure = ready.failure(part, self._settings)
                raise StackError(f"{part} does not answer ({failure}) and is tried again; {child.log_tail()}")
            if self._done.wait(0.02):
                raise SessionClosed("the stack was stopped")

    def _start_failure(self, child: Child) -> StackError:
        tail = child.log_tail()
        names = [name for name in port_names(self._wanted) if PORT_KINDS[name][0] == child.part]
        chosen_freely = any(getattr(self._wanted.ports, name) is None for name in names)
        kind = _PortLost if chosen_freely and any(words in tail for words in _TAKEN) else StackError
        return kind(f"{child.part} {child.ending()} while starting; {tail}")

    def _child(self, part: Part) -> Child:
        child = self._children.get(part)
        if child is None:
            if part not in self._wanted.parts:
                parts = ", ".join(self._wanted.parts)
                raise InvalidConfig(f"this stack has no part {part!r}; its parts are {parts}")
            raise SessionClosed("the stack is not running; start it first")
        return child

    def _call(self, request: Callable[[], None]) -> None:
        """Run `request` on the supervisor's thread and wait for it."""
        thread = self._thread
        if thread is None or self._done.is_set():
            raise SessionClosed("the stack is not running; start it first")
        if thread is threading.current_thread():
            request()
            return
        answer: Future[None] = Future()
        self._requests.put((request, answer))
        while not wait([answer], timeout=0.5).done:
            if not thread.is_alive():
                raise SessionClosed("the stack was stopped")
        answer.result()

    # --- the supervisor's thread

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                request, answer = self._requests.get(timeout=_TICK_S)
            except Empty:
                self._look()
                continue
            try:
                request()
            except BaseException as error:  # noqa: BLE001 - the outermost frame; it is raised in the caller
                answer.set_exception(error)
            else:
                answer.set_result(None)
            self._look()

    def _look(self) -> None:
        for child in self._children.values():
            if self._done.is_set():
                return
            pid = child.reap()
            if pid is not None and child.watched:
                self._mourn(child, pid)
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._restart(child)
            elif child.unanswered and child.running:
                self._ask(child)

    def _mourn(self, child: Child, pid: int) -> None:
        if time.monotonic() - child.started_at > _STABLE_AFTER_S:
            child.deaths = 0
        pause = _RESTART.pause_s(child.deaths)
        child.deaths += 1
        child.restart_at = time.monotonic() + pause
        detail = f"{child.ending()}; it is started again in {pause:.1f} s; its log is {child.log.path}"
        _log.warning("%s (pid %d) %s", child.part, pid, detail)
        self._tell(PartEvent(child.part, "died", detail, pid))

    def _restart(self, child: Child) -> None:
        child.restart_at = None
        try:
            child.spawn_watched()
        except (OSError, InvalidConfig) as error:
            child.restart_at = time.monotonic() + _RESTART.pause_s(child.deaths)
            child.deaths += 1
            _log.warning("%s cannot be started again (%s)", child.part, error)
            return
        self._tell(PartEvent(child.part, "restarted", "a new process was started", self.pid(child.part)))

    def _ask(self, child: Child) -> None:
        if ready.failure(child.part, self._settings, timeout=0.2) is None:
            child.unanswered = False
            _log.info("%s is back (pid %s)", child.part, self.pid(child.part))
            self._tell(PartEvent(child.part, "back", "it answers again", self.pid(child.part)))

    def _watch(self, child: Child) -> None:
        if not child.running:  # it answered and died before this line
            raise self._start_failure(child)
        child.watched = True

    def _stop_children(self) -> None:
        """The engine first, while it can still reach the others."""
        children = self._children
        stop_in_order([child for part, child in children.items() if part == "engine"])
        stop_in_order([child for part, child in children.items() if part != "engine"])

    def _shut_down(self) -> None:
        try:
            self._stop_children()
        finally:
            self._done.set()

    def _tell(self, event: PartEvent) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - the caller's code; the watch goes on
            _log.exception("on_event raised for %s", event.part)


def _certificate(settings: StackSettings) -> Certificate:
    from utdstream.engine.stack import certificates  # its package is heavy

    return certificates.prepare(settings)
