"""The parent: starts the servers, a door process and a house process, and judges what they recorded.

Owns: the life of the two children, the report. Main thread only (it takes SIGTERM); one daemon thread
reads each child. Nothing outlives it: a child ends when its line to the parent does, the servers when
their supervisor does.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Literal

from utdstream import __version__
from utdstream._command import doctor
from utdstream._command.demo import door, house, measure
from utdstream._command.demo.line import STOPS_WITHIN_S, CallFailed
from utdstream._command.demo.show import Screen
from utdstream.testing import LocalStack

START_S = 30.0
CALL_S = 30.0
END_S = 15.0

_FILES = ("house-sees.png", "door-hears.wav", "report.json")
_CHILDREN = ("door", "house")
_SERVERS: tuple[Literal["livekit", "mqtt", "engine"], ...] = ("livekit", "mqtt", "engine")

Event = dict[str, object]


class _Stopped(BaseException):
    """SIGINT or SIGTERM came.

    No KeyboardInterrupt: Python remembers one that passed through an `exec` (every dataclass does one), and
    ends the process by a signal even though it was caught.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class DemoProcess:
    """One child process and its line."""

    def __init__(self, name: str, arguments: list[str], log: Path, events: queue.SimpleQueue[Event]) -> None:
        self.name = name
        self._events = events
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"utdstream._command.demo.{name}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self._reader = threading.Thread(target=self._read, name=f"demo-{name}", daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """One line to the child; a child that is gone is noticed by its reader."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Hangs up the line: the child ends in good order, or is killed. Idempotent."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def reap(self, within_s: float) -> None:
        """Waits for a child that was stopped; the last resort is a kill."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put({"from": self.name, **json.loads(line)})
        self._events.put({"from": self.name, "event": "gone", "status": self.process.wait()})


def run(*, seconds: float, out: Path, as_json: bool) -> int:
    """The whole demonstration; the exit status: 0 when every bar was passed, 1 when not, 130 on Ctrl-C.

    Leaves `report.json`, `house-sees.png` and `door-hears.wav` in `out`, and nothing else running.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*_FILES, *(f"logs/{log}.log" for log in (*_CHILDREN, *_SERVERS))):
        (out / name).unlink(missing_ok=True)  # an earlier run's say nothing of this one
    screen = Screen(sys.stderr if as_json else sys.stdout)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    report: dict[str, object]
    try:
        with _stoppable(events) as no_exceptions_from_now_on:
            screen.title(f"utdstream demo: a door calls a house for {seconds:g} s")
            report = _Demo(seconds, out, screen, events).run(no_exceptions_from_now_on)
    except CallFailed as error:
        report = {"ok": False, "error": str(error)}
        screen.step("no call", str(error), ok=False)
    except _Stopped as stop:
        screen.text("stopped: nothing is left running")
        return 128 + stop.number
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

    def __init__(self, seconds: float, out: Path, screen: Screen, events: queue.SimpleQueue[Event]) -> None:
        self._seconds = seconds
        self._out = out
        self._screen = screen
        self._events = events
        self._facts: dict[tuple[str, str], Event] = {}
        self._ticks: dict[str, Event] = {}
        self._errors: list[str] = []

    def run(self, no_exceptions_from_now_on: Callable[[], None]) -> dict[str, object]:
        """The report. Raises: CallFailed, _Stopped."""
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="utdstream-demo-")))
            started = time.monotonic()
            servers = stack.enter_context(LocalStack())
            no_exceptions_from_now_on()
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
            return self._judged(scratch, _versions())

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
            except queue.Empty:
                missing = ", ".join(" ".join(key) for key in wanted if key not in self._facts)
                raise CallFailed(f"within {within_s:g} s there was no sign of {missing}") from None
            self._take(event)

    def _take(self, event: Event) -> None:
        name, what = str(event["from"]), str(event["event"])
        if what == "stop":
            raise _Stopped(int(str(event["signal"])))
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
        return _moment(self._facts[name, what]["at"])

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
        """What everybody logged, for a call that did not come about."""
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

    # -- the report ------------------------------------------------------------------------------

    def _judged(self, scratch: Path, versions: dict[str, str]) -> dict[str, object]:
        at_door, at_house = self._facts["door", "result"], self._facts["house", "result"]
        until, accepted_at = _moment(at_door["hung_up_at"]), _moment(at_house["accepted_at"])
        house_hears = _heard(scratch / "house.pcm", at_house, until)
        door_hears = _heard(scratch / "door.pcm", at_door, until)
        _write_wav(self._out / "door-hears.wav", door_hears.samples)
        rows = at_house["pictures"]
        assert isinstance(rows, list)
        last_sent = at_door["last_sent"]
        seen = measure.seen(
            [measure.Picture(*row) for row in rows],
            last_sent=last_sent if isinstance(last_sent, int) else None,
            until=until,
        )
        threads = {"door": at_door["threads"], "house": at_house["threads"]}
        report: dict[str, object] = {
            "seconds": self._seconds,
            "press_to_ring_ms": _ms(_moment(at_house["rung_at"]) - _moment(at_door["pressed_at"])),
            "accept_to_first_audio_ms": {
                "house_hears": _ms_since(accepted_at, at_house["first_sound_at"]),
                "door_hears": _ms_since(accepted_at, at_door["first_sound_at"]),
            },
            "first_video_ms": _ms_since(accepted_at, seen.first_at),
            "video_frames_sent": seen.sent,
            "video_frames_received": seen.received,
            "video_frames_unreadable": seen.unreadable,
            "video_fps": round(seen.frames_per_second, 2),
            "video_size": list(seen.size) if seen.size is not None else None,
            "video_sizes": seen.sizes,
            "longest_video_freeze_ms": round(seen.longest_freeze_ms, 1),
            "tone_hz": {
                "house_hears": {"sent": door.TONE_HZ, "heard": _rounded(house_hears.tone_hz)},
                "door_hears": {"sent": house.TONE_HZ, "heard": _rounded(door_hears.tone_hz)},
            },
            "longest_audio_gap_ms": {
                "house_hears": house_hears.longest_gap_ms,
                "door_hears": door_hears.longest_gap_ms,
            },
            "door_statuses": at_door["statuses"],
            "house_statuses": at_house["statuses"],
            "threads_after": max(len(names) for names in threads.values() if isinstance(names, list)),
            "threads_after_names": threads,
            "background_errors": self._errors,
            "versions": versions,
        }
        bars = measure.bars(report, size=door.SIZE)
        has_picture = (self._out / "house-sees.png").is_file()
        bars.append(measure.Bar("a picture is kept", "yes" if has_picture else "no", "yes", has_picture))
        self._screen.table(bars)
        report["ok"] = all(bar.ok for bar in bars)
        report["failed"] = [f"{bar.name}: {bar.measured}, not {bar.wanted}" for bar in bars if not bar.ok]
        return report


@contextlib.contextmanager
def _stoppable(events: queue.SimpleQueue[Event]) -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM become a `_Stopped`, once, and an event of the queue.

    Gives a function that ends the first: from then on a signal is an event alone. An exception between a
    child's birth and its entry in our books would leave the child behind, one in the clearing up much more.
    """
    may_raise, stopped = True, False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal may_raise, stopped
        stopped = True
        # An event as well: what is raised in a weak reference's callback is lost, and imports run some.
        events.put({"from": "parent", "event": "stop", "signal": int(number)})
        if may_raise:
            may_raise = False
            raise _Stopped(number)

    def no_exceptions_from_now_on() -> None:
        nonlocal may_raise
        may_raise = False

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield no_exceptions_from_now_on
    finally:
        for number, handler in before.items():
            # This process is about to end: an impatient second signal must not change its exit status.
            signal.signal(number, signal.SIG_IGN if stopped else handler)


def _heard(recording: Path, result: Mapping[str, object], until: float) -> measure.Heard:
    return measure.heard(
        recording.read_bytes(),
        begun_at=_optional(result["begun_at"]),
        first_sound_at=_optional(result["first_sound_at"]),
        until=until,
    )


def _write_wav(path: Path, samples: measure.Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(measure.RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def _versions() -> dict[str, str]:
    """Of everything that took part."""
    found = {check.name: check.found.partition(" ")[0] for check in doctor.examine()}
    return {
        "utdstream": __version__,
        "livekit": metadata.version("livekit"),
        "livekit-server": found["livekit-server"],
        "mosquitto": found["mosquitto"],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def _signal(status: object) -> str:
    try:
        return signal.Signals(-int(str(status))).name
    except ValueError:
        return f"signal {status}"


def _moment(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


def _optional(value: object) -> float | None:
    return None if value is None else _moment(value)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _ms_since(earlier: float, later: object) -> float | None:
    return None if later is None else _ms(_moment(later) - earlier)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _hz(value: object) -> str:
    return f"{value:.0f} Hz" if isinstance(value, (int, float)) else "silence"


def _since(moment: float) -> str:
    return f"{time.monotonic() - moment:.1f} s"
