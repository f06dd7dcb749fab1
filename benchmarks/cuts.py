"""How soon a cut link is told, and sound and picture are back, in a call and on a seat.

    sudo python -m benchmarks.cuts [--cuts 1,3,20,60,120] [--times 3] [--kinds call,seat] [--restarts kill,stop]

Needs root, unshare, ip and nft: all runs in a network namespace of its own. One side is a process whose group's
packets are dropped, TCP and UDP, both ways; the other side and the servers are here. Then the media server is
killed, or stopped, and started again 3 s later. Bars: told within 2 s; sound within 1 s and picture within 2 s of
the link; nothing lost. Beside other work on the machine the figures say little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy

from utdstream import (
    ConnectionState,
    Devices,
    SessionClosed,
    UTDAudioRoomSession,
    UTDCallSession,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.synthetic import PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

GROUP = 65534
INTERFACES = (
    "ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 10.9.0.1/24 dev v0"
    " && ip link set v0 up && ip link set v1 up && ip route add default via 10.9.0.2"
)
BARS_S = {"told": 2.0, "sound": 1.0, "picture": 2.0}
PATIENCE_S = 60.0
SETTLE_S = 6.0
LOUD = 1000
Session = UTDCallSession | UTDAudioRoomSession


@dataclass
class Senses:
    """When a session was last heard and seen, and last told that it reconnects."""

    session: Session
    heard_at: float = 0.0
    seen_at: float = 0.0
    told_at: float = 0.0
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session.connection.subscribe(lambda change: self._note(change.new.state))
        for perceive in (self._hear, self._see):
            threading.Thread(target=self._always, args=(perceive,), daemon=True).start()

    def _note(self, state: ConnectionState) -> None:
        if state is ConnectionState.RECONNECTING:
            self.told_at = self.told_at or time.monotonic()
        elif state is ConnectionState.DISCONNECTED:
            self.lost.append("disconnected")

    def _always(self, perceive: Callable[[], None]) -> None:
        while True:
            try:
                perceive()
            except SessionClosed:
                time.sleep(0.02)
            except UTDStreamException:
                continue

    def _hear(self) -> None:
        for frame in self.session.audio_frames():
            if int(numpy.abs(numpy.frombuffer(frame.data, dtype=numpy.int16)).max(initial=0)) > LOUD:
                self.heard_at = time.monotonic()

    def _see(self) -> None:
        for _ in self.session.video_frames(timeout=PATIENCE_S):
            self.seen_at = time.monotonic()


def devices(kind: str) -> Devices:
    return Devices(
        microphone=ToneMicrophone(), camera=PatternCamera(160, 120, 10) if kind == "call" else None
    )


# -- the side that is cut off, a process of its own -------------------------------------------------


def far_side(settings: dict[str, str]) -> None:
    """Takes part in what is asked for; says each second line what it sensed when asked for it."""
    kind = settings.pop("kind")
    client = UTDStreamClient(**settings, devices=devices(kind))  # type: ignore[arg-type]  # all of them texts
    session: Session
    if kind == "call":
        client.authenticate(identity="door")
        session = client.call_session(UTDStreamType.VIDEO_CALL)
        session.start(callee_identity="house")
        session.wait_for_answer()
    else:
        session = client.join_audio_room(identity="door", room_name="hall")
        session.take_seat(1)
    senses = Senses(session)
    print("there", flush=True)
    for line in sys.stdin:
        if line == "end\n":
            break
        if line == "begin\n":
            senses.told_at = 0.0
        seated = not isinstance(session, UTDAudioRoomSession) or session.seat.value is not None
        sensed = [senses.told_at, senses.heard_at, senses.seen_at, len(senses.lost) + (not seated)]
        print(json.dumps(sensed), flush=True)
    client.dispose()


class FarSide:
    """That process, and what it sensed."""

    def __init__(self, stack: LocalStack, kind: str) -> None:
        settings = {
            "app_id": stack.app_id,
            "app_key": stack.app_key,
            "base_url": stack.base_url,
            "kind": kind,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cuts", "--far", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            group=GROUP,
            extra_groups=[],
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def sensed(self) -> tuple[float, float, float, int]:
        self.say("sensed")
        told, heard, seen, lost = json.loads(self.line())
        return told, heard, seen, lost


# -- faults ---------------------------------------------------------------------------------------


def nft(rules: str) -> None:
    subprocess.run(["nft", rules], check=True)


def prepare_cuts() -> None:
    nft("add table inet cut")
    nft("add chain inet cut out { type filter hook output priority 0; }")
    nft(f"add rule inet cut out meta skgid {GROUP} ct mark set 1")
    nft("add chain inet cut gate")
    nft("add rule inet cut out jump gate")


def cut(seconds: float) -> float:
    """Cuts the far side off; returns when it was mended."""
    nft("add rule inet cut gate ct mark 1 drop")
    time.sleep(seconds)
    nft("flush chain inet cut gate")
    return time.monotonic()


def restart(stack: LocalStack, how: str) -> float:
    """Kills or stops the media server, and starts it; returns when it was there."""
    getattr(stack, how)("livekit")
    time.sleep(3.0)
    stack.start("livekit")
    return time.monotonic()


# -- one run --------------------------------------------------------------------------------------


@contextmanager
def two(stack: LocalStack, kind: str) -> Iterator[tuple[FarSide, Senses]]:
    """Both sides, taking part."""
    client = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, devices=devices(kind))
    far: FarSide | None = None
    session: Session
    try:
        if kind == "call":
            client.authenticate(identity="house")
            inbox = client.incoming_calls()
            inbox.connected.wait_for(True)
            far = FarSide(stack, kind)
            session = inbox.ringing.wait().accept()
        else:
            session = client.join_audio_room(identity="house", room_name="hall", as_host=True, seat_count=4)
            session.take_seat(0)
            far = FarSide(stack, kind)
        near = Senses(session)
        assert far.line() == "there\n"
        until(lambda: near.heard_at > 0 and far.sensed()[1] > 0)
        yield far, near
    finally:
        if far is not None:
            far.say("end")
            far.process.wait(20)
        client.dispose()


def until(holds: Callable[[], bool]) -> None:
    over = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < over:
        time.sleep(0.02)


def run(far: FarSide, near: Senses, fault: Callable[[], float], kind: str) -> dict[str, float]:
    """Seconds until it was told, and from the mend until both heard and saw each other; what was lost."""
    time.sleep(SETTLE_S)
    far.say("begin")
    far.line()
    began = time.monotonic()
    mended = fault()
    first: dict[str, float] = {}

    def is_back() -> bool:
        _, heard, seen, _ = far.sensed()
        now = {
            "sound there": heard > mended,
            "sound here": near.heard_at > mended,
            "picture there": seen > mended or kind != "call",
            "picture here": near.seen_at > mended or kind != "call",
        }
        for name, holds in now.items():
            if holds:
                first.setdefault(name, time.monotonic() - mended)
        return all(now.values())

    until(is_back)
    told, _, _, lost = far.sensed()
    back = {name: round(first.get(name, PATIENCE_S), 2) for name in ("sound there", "sound here")}
    pictures = [first.get(name, PATIENCE_S) for name in ("picture there", "picture here")]
    return {
        "told": round(told - began, 2) if told else PATIENCE_S,
        "sound": max(back.values()),
        "picture": round(max(pictures), 2),
        "lost": lost + len(near.lost),
    }


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--cuts", default="1,3,20,60,120", help="seconds, with commas")
    options.add_argument("--times", type=int, default=3)
    options.add_argument("--kinds", default="call,seat")
    options.add_argument("--restarts", default="kill,stop")
    options.add_argument("--json", action="store_true")
    options.add_argument("--far", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.far is not None:
        far_side(json.loads(chosen.far))
        return 0
    if os.environ.get("UTD_CUTS_INSIDE") != "1":
        inside = INTERFACES + ' && exec "$@"'
        command = ["unshare", "-n", "sh", "-c", inside, "sh", sys.executable, "-m", "benchmarks.cuts"]
        os.environ["UTD_CUTS_INSIDE"] = "1"
        os.execvp("unshare", [*command, *sys.argv[1:]])
    prepare_cuts()
    worst = 0
    figures: list[dict[str, object]] = []
    for kind in chosen.kinds.split(","):
        with LocalStack() as stack, two(stack, kind) as (far, near):
            faults: list[tuple[str, Callable[[], float]]] = [
                (f"cut {seconds} s", lambda seconds=seconds: cut(float(seconds)))  # type: ignore[misc]
                for seconds in filter(None, chosen.cuts.split(","))
            ]
            faults += [
                (f"media server: {how}", lambda how=how: restart(stack, how))  # type: ignore[misc]
                for how in filter(None, chosen.restarts.split(","))
            ]
            for name, fault in faults:
                for _ in range(chosen.times):
                    result = run(far, near, fault, kind)
                    figures.append({"kind": kind, "fault": name, **result})
                    is_cut = name.startswith("cut")
                    was_over = name == "cut 1 s"  # before anybody could be told
                    missed = [bar for bar, most in BARS_S.items() if is_cut and result[bar] > most]
                    missed = [bar for bar in missed if not (bar == "told" and was_over)]
                    worst = max(worst, bool(missed or result["lost"]))
                    if not chosen.json:
                        print(
                            f"{kind:5} {name:20} {result} {'MISSED ' + str(missed) if missed else ''}",
                            flush=True,
                        )
    if chosen.json:
        print(json.dumps(figures, indent=2))
    return worst


if __name__ == "__main__":
    sys.exit(main())
