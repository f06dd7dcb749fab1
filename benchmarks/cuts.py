"""How soon a cut link and a lost peer are told, and sound and picture are back: calls, seats and streams.

    python -m benchmarks.cuts [--times 20] [--pairs 2] [--faults cut-1,cut-3,...,peer-killed-muted] [--json]

A pair is two processes (`benchmarks.cut_party`): the far one is in a call, or has a seat, or hosts a live stream
and watches another, and its link is cut for 1 to 120 s, TCP and UDP, both ways; or its signal connection is
half-open while media flows. Several pairs have links of their own, which come back one after the other. Then the
media server is killed and stopped, the engine and the broker killed, each for 3 s; last, the far side of a call is
frozen or killed, speaking or with all muted.

Bars, in seconds: told 2; sound 1 and picture 2 after the link or the server; a lost peer told 8; the inbox's
`connected` false 10; nothing lost, nothing interrupted by engine or broker. Needs root, `unshare`, `ip` and `nft`;
20 times each take an hour and a half. The machine's load is said: beside other work the figures say little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cut_pair import PATIENCE_S, Pair, a_pair, until
from benchmarks.cut_party import KINDS
from benchmarks.links import run_in_namespace
from utdstream.testing import LocalStack

CUTS = {f"cut-{seconds}": float(seconds) for seconds in (1, 3, 20, 60, 120)}
HALF_OPEN, HALF_OPEN_S = "signal-half-open", 20.0
SERVERS = ("sfu-kill", "sfu-stop", "engine-kill", "broker-kill")
PEERS = ("peer-frozen", "peer-killed", "peer-frozen-muted", "peer-killed-muted")
FAULTS = (*CUTS, HALF_OPEN, *SERVERS, *PEERS)
PARTS = {"sfu": "livekit", "engine": "engine", "broker": "mqtt"}
DOWN_S = 3.0
SETTLE_S = 4.0
SHORT_S = 3.0
HOLDS_UP_S = 5.0
"""For so long a link that came back has the machine for itself."""
PEER_PATIENCE_S = 30.0
TOLD_S, SOUND_S, PICTURE_S, PEER_S, INBOX_S = 2.0, 1.0, 2.0, 8.0, 10.0
BARS = {
    "told": TOLD_S,
    "sound": SOUND_S,
    "picture": PICTURE_S,
    "peer": PEER_S,
    "inbox": INBOX_S,
    "gap": SOUND_S,
}
COMES_BACK = threading.Lock()
"""One link comes back at a time: a session that joins keeps a core busy, and two devices would be two machines."""
TAKES_PART: tuple[tuple[str, ...], ...] = (("call",), ("seat",), ("host", "viewer"))
"""What a device whose link is cut does."""


@dataclass
class Outcome:
    """What one fault did to one kind. Seconds; None: it does not apply, or was too short to be told."""

    fault: str
    kind: str
    told: float | None = None
    sound: float | None = None
    picture: float | None = None
    peer: float | None = None
    inbox: float | None = None
    gap: float | None = None
    lost: int = 0
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))
    at: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))

    def missed(self) -> list[str]:
        over = [
            name for name, bar in BARS.items() if (value := getattr(self, name)) is not None and value > bar
        ]
        return [*over, *(["lost"] if self.lost else [])]

    def __str__(self) -> str:
        figures = {name: getattr(self, name) for name in (*BARS, "lost") if getattr(self, name) is not None}
        missed = f"MISSED {' '.join(self.missed())}" if self.missed() else ""
        said = " ".join(f"{name} {value:g}" for name, value in figures.items())
        return f"{self.at} load {self.load:4} {self.fault:18} {self.kind:6} {said} {missed}"


# -- one fault --------------------------------------------------------------------------------------


def of_link(pair: Pair, fault: str) -> list[Outcome]:
    length_s = CUTS.get(fault)
    time.sleep(SETTLE_S)
    with ExitStack() as turn:
        if is_short := length_s is not None and length_s <= SHORT_S:
            turn.enter_context(COMES_BACK)  # a wait would make another fault of it
        pair.ask("begin")
        began = time.monotonic()
        if length_s is None:
            pair.link.cut("signal half-open")
            until(lambda: all(kind["told"] for kind in pair.state()[1]["kinds"].values()), HALF_OPEN_S)
            until(lambda: all(kind["connected"] for kind in pair.state()[1]["kinds"].values()), HALF_OPEN_S)
        else:
            pair.link.cut()
            time.sleep(length_s)
        if not is_short:
            turn.enter_context(COMES_BACK)
        pair.link.mend()
        pair.ask("mended", at=time.monotonic())
        until(pair.is_back, HOLDS_UP_S)
    until(pair.is_back)
    near, far = pair.state()
    outcomes = [Outcome(fault, kind) for kind in pair.kinds]
    for one in outcomes:
        own, other = far["kinds"][one.kind], near["kinds"][one.kind]
        one.lost = int(own["lost"] or other["lost"])
        if length_s is None or length_s >= 3:
            one.told = since(began, own["told"])
        if length_s is None:
            one.gap = max(own["gap"], other["gap"])
            continue
        one.sound, one.picture = later(own["sound"], other["sound"]), later(own["picture"], other["picture"])
        if one.kind == "call" and length_s >= 20:
            one.peer, one.inbox = since(began, other["peer_told"]), since(began, far["inbox"]["down"])
    return outcomes


def of_server(pair: Pair, stack: LocalStack, fault: str) -> list[Outcome]:
    name, how = fault.split("-")
    part: Any = PARTS[name]
    time.sleep(SETTLE_S)
    pair.ask("begin")
    began = time.monotonic()
    getattr(stack, how)(part)
    time.sleep(DOWN_S)
    stack.start(part)
    mended = time.monotonic()
    pair.ask("mended", at=mended)
    until(pair.is_back)
    states = pair.state()
    outcomes = [Outcome(fault, kind) for kind in pair.kinds]
    for one in outcomes:
        both = [state["kinds"][one.kind] for state in states]
        one.lost = sum(state["lost"] for state in both)
        if name == "sfu":
            one.told = max(since(began, state["told"] or state["peer_told"]) for state in both)
            one.sound = later(*(state["sound"] for state in both))
            one.picture = later(*(state["picture"] for state in both))
        else:  # nobody is to be told anything
            one.gap = max(state["gap"] for state in both)
            one.lost += sum(bool(state["told"]) for state in both)
        if name == "broker" and one.kind == "call":
            one.inbox = since(mended, states[1]["inbox"]["up"])
    return outcomes


def of_peer(stack: LocalStack, fault: str) -> list[Outcome]:
    _, how, *muted = fault.split("-")
    with a_pair(stack, ("call",)) as pair:
        if muted:
            pair.ask("mute")
        time.sleep(SETTLE_S)
        pair.ask("begin")
        assert pair.far is not None
        began = time.monotonic()
        one = Outcome(fault, "call")
        if how == "frozen":
            pair.far.process.send_signal(19)
        else:
            pair.far.process.kill()

        def peer_told() -> float:
            return float(pair.near.ask("state")["kinds"]["call"]["peer_told"])

        until(lambda: peer_told() > 0, PEER_PATIENCE_S)
        one.peer = since(began, peer_told())
        return [one]


def since(began: float, at: float) -> float:
    return round(at - began, 2) if at else PATIENCE_S


def later(*seconds: float | None) -> float:
    return round(max(PATIENCE_S if one is None else one for one in seconds), 2)


# -- all of them ------------------------------------------------------------------------------------


class Run:
    """All faults, so many times each."""

    def __init__(self, stack: LocalStack, faults: list[str], times: int, pairs: int, *, quiet: bool) -> None:
        self._stack, self._faults, self._times, self._pairs = stack, faults, times, pairs
        self._quiet = quiet
        self._lock = threading.Lock()
        self.outcomes: list[Outcome] = []

    def all(self) -> None:
        with ThreadPoolExecutor(self._pairs * len(TAKES_PART)) as pool:
            links = [fault for fault in self._faults if fault in CUTS or fault == HALF_OPEN]
            work = []
            for kinds in TAKES_PART:
                todo = [fault for fault in links for _ in range(self._times)]
                random.Random(kinds[0]).shuffle(todo)
                work += [(kinds, todo[at :: self._pairs]) for at in range(self._pairs)]
            list(pool.map(lambda one: self._links(*one), work))
            for kinds in TAKES_PART:
                self._servers(kinds, [fault for fault in self._faults if fault in SERVERS])
            peers = [fault for fault in self._faults if fault in PEERS for _ in range(self._times)]
        with ThreadPoolExecutor(self._pairs) as pool:
            list(pool.map(lambda fault: self._note(of_peer(self._stack, fault)), peers))

    def _links(self, kinds: tuple[str, ...], todo: list[str]) -> None:
        """One pair after the other: with a new one when the last one was not whole any more."""
        while todo:
            with a_pair(self._stack, kinds) as pair:
                while todo:
                    outcomes = of_link(pair, todo.pop())
                    self._note(outcomes)
                    if any(one.lost for one in outcomes):
                        break

    def _servers(self, kinds: tuple[str, ...], faults: list[str]) -> None:
        todo = [fault for fault in faults for _ in range(self._times)]
        while todo:
            with a_pair(self._stack, kinds) as pair:
                while todo:
                    outcomes = of_server(pair, self._stack, todo.pop(0))
                    self._note(outcomes)
                    if any(one.lost for one in outcomes):
                        break

    def _note(self, outcomes: list[Outcome]) -> None:
        with self._lock:
            self.outcomes += outcomes
            if not self._quiet:
                print("\n".join(map(str, outcomes)), flush=True)


def table(outcomes: list[Outcome]) -> list[str]:
    """Median and worst of each fault and kind."""
    lines = []
    for fault in FAULTS:
        for kind in KINDS:
            those = [one for one in outcomes if (one.fault, one.kind) == (fault, kind)]
            if not those:
                continue
            figures = []
            for name, bar in BARS.items():
                values = [value for one in those if (value := getattr(one, name)) is not None]
                if values:
                    over = sum(value > bar for value in values)
                    says = f"{name} {statistics.median(values):.2f} {max(values):.2f}"
                    figures.append(f"{says} ({over} over)" if over else says)
            lost = sum(one.lost for one in those)
            lines.append(f"{fault:18} {kind:6} x{len(those):<3} {', '.join(figures)}, lost {lost}")
    return lines


def busy_s() -> tuple[float, float]:
    """Seconds of all processors since the start: at work, and all."""
    with open("/proc/stat", encoding="ascii") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / 100, sum(ticks) / 100


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--times", type=int, default=20)
    options.add_argument(
        "--pairs", type=int, default=2, help="of each kind that have their links cut at once"
    )
    options.add_argument("--faults", default=",".join(FAULTS), help="with commas")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    faults = chosen.faults.split(",")
    if unknown := sorted(set(faults) - set(FAULTS)):
        options.error(f"--faults: {', '.join(unknown)} is none of {', '.join(FAULTS)}")
    run_in_namespace("benchmarks.cuts", sys.argv[1:])
    before = busy_s()
    with LocalStack(project={"max_concurrent_rooms": 10_000}, log_level="info") as stack:
        run = Run(stack, faults, chosen.times, chosen.pairs, quiet=chosen.json)
        run.all()
    if chosen.json:
        print(json.dumps([vars(one) for one in run.outcomes], indent=2))
    else:
        print("\nfault, kind, times; median and worst of each figure, in seconds")
        print("\n".join(table(run.outcomes)))
        at_work, whole = (now - then for now, then in zip(busy_s(), before, strict=True))
        loads = [one.load for one in run.outcomes]
        print(
            f"load {statistics.median(loads)} median, {max(loads)} worst; processors at work {at_work / whole:.0%}"
        )
    return int(any(one.missed() for one in run.outcomes))


if __name__ == "__main__":
    sys.exit(main())
