"""The parent: starts the servers, a door process and a house process, and judges what they recorded.

Owns: the order of a run, and its end. Main thread only: it waits for signals (`foreground`), a thread beside it
does the work, and one daemon thread reads each child. Nothing outlives it: a child ends when its line to the
parent does, the servers when their supervisor does.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Literal

from utdstream import foreground
from utdstream._command.demo.child import DemoProcess, Event
from utdstream._command.demo.line import STOPS_WITHIN_S, CallFailed
from utdstream._command.demo.report import judged
from utdstream._command.demo.show import Screen
from utdstream.mailbox import Mailbox
from utdstream.testing import LocalStack

START_S = 30.0
CALL_S = 30.0
END_S = 15.0

_FILES = ("house-sees.png", "door-hears.wav", "report.json")
_CHILDREN = ("door", "house")
_SERVERS: tuple[Literal["livekit", "mqtt", "engine"], ...] = ("livekit", "mqtt", "engine")


class _Stopped(Exception):
    """SIGINT or SIGTERM came."""


def run(*, seconds: float, out: Path, as_json: bool) -> int:
    """Runs the demonstration. Returns the exit status: 0 every bar was passed, 1 not, 130 Ctrl-C.

    Leaves `report.json`, `house-sees.png` and `door-hears.wav` in `out`, and nothing else running.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*_FILES, *(f"logs/{log}.log" for log in (*_CHILDREN, *_SERVERS))):
        (out / name).unlink(missing_ok=True)  # an earlier run's say nothing of this one
    screen = Screen(sys.stderr if as_json else sys.stdout)
    events: Mailbox[Event] = Mailbox()
    demo = _Demo(seconds, out, screen, events)
    screen.title(f"utdstream demo: a door calls a house for {seconds:g} s")
    # This process is about to end: an impatient second signal must not change its exit status.
    came = foreground.run(demo.run, stop=demo.stop, again=signal.SIG_IGN)
    if came is not None:
        screen.text("stopped: nothing is left running")
        return 128 + came
    report = demo.report
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(report, indent=1))  # noqa: T201 - what was asked for
    elif report["ok"]:
        screen.text("The call worked. See and hear it:")
    if not as_json:
        for name in _FILES:
            if (out / name).exists():
                screen.text(f"  {out / name}")
    return 0 if report["ok"] else 1


class _Demo:
    """One run."""

    def __init__(self, seconds: float, out: Path, screen: Screen, events: Mailbox[Event]) -> None:
        self._seconds = seconds
        self._out = out
        self._screen = screen
        self._events = events
        self._facts: dict[tuple[str, str], Event] = {}
        self._ticks: dict[str, Event] = {}
        self._errors: list[str] = []
        self._servers = LocalStack()
        self._servers_are_up = threading.Event()
        self.report: dict[str, object] = {}
        """What was judged, or why there was no call; when `run` has returned."""

    def run(self) -> None:
        """Makes the report. Raises: _Stopped, and what a LocalStack raises that is stopped while it starts."""
        try:
            self.report = self._call()
        except CallFailed as error:
            self.report = {"ok": False, "error": str(error)}
            self._screen.step("no call", str(error), ok=False)

    def stop(self) -> None:
        """Makes `run` end soon. Any thread."""
        self._events.put({"from": "parent", "event": "stop"})
        if not self._servers_are_up.is_set():
            self._servers.close()

    def _call(self) -> dict[str, object]:
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="utdstream-demo-")))
            started = time.monotonic()
            servers = stack.enter_context(self._servers)
            self._servers_are_up.set()
            self._screen.step("servers", f"livekit-server, broker, engine in {_since(started)}")
            stack.push(lambda kind, error, trace: self._keep_logs(error, servers, scratch))
            children = stack.enter_context(self._children(scratch))
            access = {"base_url": servers.base_url, "app_id": servers.app_id, "app_key": servers.app_key}
            started = time.monotonic()
            for child in children.values():
                child.tell(json.dumps(access))
            self._wait_for(("door", "ready"), ("house", "ready"), within_s=START_S)
            pids = ", ".join(f"{name} is process {child.process.pid}" for name, child in children.items())
            self._screen.step("two processes", f"{pids}; signed in after {_since(started)}")
            self._talk(children["door"])
            report, bars = judged(
                self._facts["door", "result"],
                self._facts["house", "result"],
                seconds=self._seconds,
                out=self._out,
                scratch=scratch,
                errors=self._errors,
            )
            self._screen.table(bars)
            return report

    # -- the call --------------------------------------------------------------------------------

    def _talk(self, button: DemoProcess) -> None:
        button.tell("press")
        self._wait_for(("door", "pressed"), ("house", "ringing"), within_s=CALL_S)
        ring_ms = (self._at("house", "ringing") - self._at("door", "pressed")) * 1000
        self._screen.step("ringing", f"at the house, {ring_ms:.1f} ms after the door's button was pressed")
        self._wait_for(("house", "accepted"), ("door", "answered"), within_s=CALL_S)
        rung_s = self._at("house", "accepted") - self._at("house", "ringing")
        self._screen.step("answered", f"by the house, after it rang for {rung_s:.1f} s")
        self._wait_for(("door", "result"), within_s=self._seconds + END_S)
        self._screen.step("hung up", "by the door")
        self._wait_for(("house", "result"), within_s=END_S)

    def _wait_for(self, *wanted: tuple[str, str], within_s: float) -> None:
        """Takes what the children say until all of this was said. Raises: CallFailed."""
        until = time.monotonic() + within_s
        while not all(key in self._facts for key in wanted):
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                missing = ", ".join(" ".join(key) for key in wanted if key not in self._facts)
                raise CallFailed(f"within {within_s:g} s there was no sign of {missing}") from None
            self._take(event)

    def _take(self, event: Event) -> None:
        name, what = str(event["from"]), str(event["event"])
        if what == "stop":
            raise _Stopped
        if what == "failed":
            raise CallFailed(f"{name}: {event['sentence']}")
        if what == "gone" and (name, "result") not in self._facts:
            status = event["status"]
            how = f"by {_signal(status)}" if str(status).startswith("-") else f"with status {status}"
            raise CallFailed(f"the {name} process ended {how} before the call was over")
        if what == "error":
            self._errors.append(f"{name}: {event['sentence']}")
            self._screen.step(name, str(event["sentence"]), ok=False)
        elif what == "tick":
            self._ticks[name] = event
            if ("door", "answered") in self._facts and name == "door":
                self._show_progress()
        else:
            self._facts[name, what] = event

    def _show_progress(self) -> None:
        seen, heard = self._ticks.get("house", {}), self._ticks.get("door", {})
        fps = seen.get("fps")
        rate = f" {fps:.0f}/s" if isinstance(fps, float) else ""
        house = f"{seen.get('seen', 0)} pictures{rate} {_hz(seen.get('hears_hz'))}"
        self._screen.progress(
            "talking",
            time.monotonic() - self._at("door", "answered"),
            self._seconds,
            f"house: {house}; door: {_hz(heard.get('hears_hz'))}",
        )

    def _at(self, name: str, what: str) -> float:
        moment = self._facts[name, what]["at"]
        assert isinstance(moment, float)
        return moment

    # -- the children ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _children(self, scratch: Path) -> Iterator[dict[str, DemoProcess]]:
        arguments = {
            "house": ["--heard", str(scratch / "house.pcm"), "--snapshot", str(self._out / "house-sees.png")],
            "door": ["--heard", str(scratch / "door.pcm"), "--seconds", str(self._seconds)],
        }
        children: dict[str, DemoProcess] = {}
        try:
            for name, given in arguments.items():
                children[name] = DemoProcess(name, given, scratch / f"{name}.log", self._events)
            yield children
        finally:
            for child in children.values():
                child.stop()
            until = time.monotonic() + STOPS_WITHIN_S + 0.5
            for child in children.values():
                child.reap(max(0.1, until - time.monotonic()))

    def _keep_logs(self, error: BaseException | None, servers: LocalStack, scratch: Path) -> None:
        """Keeps what each process logged, when a call did not come about."""
        if not isinstance(error, CallFailed):
            return
        logs = self._out / "logs"
        logs.mkdir(exist_ok=True)
        for name in _CHILDREN:
            with contextlib.suppress(OSError):
                (logs / f"{name}.log").write_bytes((scratch / f"{name}.log").read_bytes())
        for part in _SERVERS:
            (logs / f"{part}.log").write_text(servers.logs(part), encoding="utf-8")
        self._screen.text(f"  logs: {logs}")


def _signal(status: object) -> str:
    try:
        return signal.Signals(-int(str(status))).name
    except ValueError:
        return f"signal {status}"


def _hz(value: object) -> str:
    return f"{value:.0f} Hz" if isinstance(value, (int, float)) else "silence"


def _since(moment: float) -> str:
    return f"{time.monotonic() - moment:.1f} s"
