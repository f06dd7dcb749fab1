"""Exceptions thrown into the program's thread at random moments of its operations: what comes out, what is left?

    python -m benchmarks.interrupts [--each 2000] [--seed 1] [--only start,accept] [--json]

For each operation so many times: Ctrl-C, an exception thrown into the thread (PyThreadState_SetAsyncExc), or a
signal whose handler disposes, at a moment drawn between its beginning and its usual end. The exception that was
thrown has to come out (SessionClosed, or the result, when a handler disposed), and 2 s later nothing rings, nobody
is joined, no seat is taken, nothing listens. `make interrupts` runs it: an hour on two quiet cores.

Up to Python 3.11 an exception that is thrown into a thread just while it starts another one is given to that one,
which ends with it (its own number is set when it runs). The operation goes on then; these are counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import random
import re
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from utdstream import (
    Conflict,
    ConnectionState,
    Devices,
    SessionClosed,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream._threads import errands
from utdstream.synthetic import ToneMicrophone
from utdstream.testing import LocalStack

TESTS = Path(__file__).parents[1] / "tests"
WITHIN_S = 2.0
PATIENCE_S = 20.0
LAST_S = 2.0


class Thrown(BaseException):
    """What is thrown into the thread."""


WANTED: dict[str, type[BaseException]] = {
    "ctrl-c": KeyboardInterrupt,
    "thrown": Thrown,
    "disposed": SessionClosed,
}
"""What has to come out; the result may, too, where a handler disposed."""
HOWS = tuple(WANTED)
ACTIVE = UTDCallStatus.ACTIVE


@dataclass
class Operation:
    """One operation: what it needs before, what it is, and what is left of it afterwards."""

    prepare: Callable[[], tuple[Callable[[], object], Any]]
    """Returns the call, and what a handler disposes."""
    left: Callable[[], str]
    """What there is of it still; nothing when all is gone."""
    tidy: Callable[[], object] = lambda: None


@dataclass
class Outcome:
    """What came of the interrupts of one operation."""

    interrupts: int = 0
    thrown: int = 0
    """Of these, an exception that had to come out."""
    lost_by_python: int = 0
    missed: int = 0
    """The operation was over before."""
    other: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


class Interrupter:
    """Does one thing to the main thread, at a moment."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        assert self._main is not None
        self._dispose: Callable[[], object] = lambda: None
        self.lost_by_python = 0
        sys.unraisablehook = self._unraisable
        self.took_s = 0.0
        """The last call, for as long as it went."""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        signal.signal(signal.SIGUSR1, lambda number, frame: self._dispose())

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is Thrown and unraisable.object is errands._start:
            self.lost_by_python += 1
        else:
            sys.__unraisablehook__(unraisable)

    def run(self, call: Callable[[], object], delay_s: float, how: str, dispose: Callable[[], object]) -> Any:
        """Returns what came out of `call()`: a result, or the exception; and whether it was still under way."""
        self._dispose = dispose
        began = time.monotonic()
        fired = threading.Event()
        over: list[bool] = []
        was_over: list[bool] = []

        begun = threading.Event()

        def fire() -> None:
            begun.wait()
            time.sleep(delay_s)
            was_over.append(bool(over))
            assert self._main is not None
            if how == "thrown":
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._main), ctypes.py_object(Thrown)
                )
            else:
                signal.pthread_kill(self._main, signal.SIGINT if how == "ctrl-c" else signal.SIGUSR1)
            fired.set()

        came: object = None
        threading.Thread(target=fire, daemon=True).start()
        try:
            try:
                begun.set()
                came = call()
            finally:
                over.append(True)
                self.took_s = time.monotonic() - began
                while not fired.is_set():  # what comes late comes here
                    time.sleep(0.001)
                time.sleep(0.002)
        except (Thrown, KeyboardInterrupt, UTDStreamException) as error:
            came = error
        return came, not was_over[0]


def operations(stack: LocalStack, people: Any) -> dict[str, Operation]:
    """Every operation that is interrupted."""
    door, house = people("door", Devices()), people("house", Devices())
    host = people("host", Devices(microphone=ToneMicrophone()))
    guests = people("guest", Devices())
    inbox = house.inbox()

    def open_calls(identity: str) -> bool:
        answer = requests.get(
            f"{stack.base_url}/api/v1/calls",
            params={"identity": identity, "status": "initiating,ringing,active"},
            headers={"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret},
            timeout=10,
        ).json()
        return bool(answer["data"])

    made: dict[str, Any] = {}

    def calling() -> Any:
        made["calling"] = door.call(UTDStreamType.AUDIO_CALL)
        return made["calling"]

    def start() -> tuple[Callable[[], object], Any]:
        session = calling()
        return lambda: session.start(callee_identity=house.identity), session

    def accept() -> tuple[Callable[[], object], Any]:
        calling().start(callee_identity=house.identity)
        ring = inbox.ringing.wait(timeout=PATIENCE_S)
        made["answering"] = session = house.call(UTDStreamType.AUDIO_CALL)
        return lambda: session.accept(ring.call_id), session

    def end() -> tuple[Callable[[], object], Any]:
        session = calling()
        session.start(callee_identity=house.identity)
        return session.end, session

    def joined(session: Any) -> str:
        return "" if session.connection.value.state is ConnectionState.DISCONNECTED else "joined"

    def a_call() -> str:
        return joined(made["calling"]) or ("rings" if open_calls(door.identity) else "")

    def an_answer() -> str:
        return joined(made["answering"]) or ("active" if made["calling"].status.value is ACTIVE else "")

    def hang_up() -> None:
        for name in ("answering", "calling"):
            if name in made:
                made.pop(name).dispose()

    def take_seat() -> tuple[Callable[[], object], Any]:
        if "room" not in made or made["room"]._disposed:
            made["room"] = host.client.join_audio_room(
                identity=host.identity, room_name=host.identity, as_host=True, seat_count=2
            )
        room = made["room"]
        return lambda: room.take_seat(1), room

    def a_seat() -> str:
        room = made["room"]
        if room._disposed:
            return ""
        at_the_engine = host.identity in re.findall(r"occupant_identity': '([^']+)", str(room.get_seats()))
        left = {
            "seated": at_the_engine,
            "shown seated": room.seat.value is not None,
            "on air": room.microphone_on.value,
            "under way": room._turn.locked(),
        }
        return ", ".join(name for name, is_so in left.items() if is_so)

    def stand_up() -> None:
        room = made.get("room")
        if room is not None and not room._disposed and room.seat.value is not None:
            with contextlib.suppress(Conflict):  # it was given back already, the news of it are on their way
                room.leave_seat()

    def join(kind: str) -> Callable[[], tuple[Callable[[], object], Any]]:
        def prepare() -> tuple[Callable[[], object], Any]:
            client = guests.client
            method = getattr(client, f"join_{kind}")
            return (
                lambda: method(identity=guests.identity, room_name=f"{guests.identity}-{kind}", as_host=True),
                next(iter(client._sessions), None),
            )

        return prepare

    def a_session() -> str:
        return ", ".join(map(str, guests.client._sessions))

    def leave_all() -> None:
        for session in tuple(guests.client._sessions):
            session.dispose()

    def client() -> Any:
        made["client"] = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url)
        return made["client"]

    def sign_in() -> tuple[Callable[[], object], Any]:
        new = client()
        return lambda: new.authenticate(identity="interrupted"), new

    def listen() -> tuple[Callable[[], object], Any]:
        new = client()
        new.authenticate(identity="interrupted")
        return new.incoming_calls, new

    def dispose_client() -> None:
        made["client"].dispose()

    return {
        "start": Operation(start, a_call, hang_up),
        "accept": Operation(accept, an_answer, hang_up),
        "end": Operation(end, a_call, hang_up),
        "take_seat": Operation(take_seat, a_seat, stand_up),
        "join_audio_room": Operation(join("audio_room"), a_session, leave_all),
        "join_live_stream": Operation(join("live_stream"), a_session, leave_all),
        "authenticate": Operation(sign_in, lambda: made["client"].identity or "", dispose_client),
        "incoming_calls": Operation(
            listen, lambda: ", ".join(map(str, made["client"]._inboxes)), dispose_client
        ),
    }


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def where(came: object) -> str:
    """The last lines of the SDK that an exception came through."""
    if not isinstance(came, BaseException):
        return ""
    frames = [frame for frame in traceback.extract_tb(came.__traceback__) if "/utdstream/" in frame.filename]
    return "".join(f" <- {Path(frame.filename).name}:{frame.lineno}" for frame in frames[:-5:-1])


def usual_s(operation: Operation) -> float:
    """The time it takes, uninterrupted."""
    times = []
    while len(times) < 3:
        with contextlib.suppress(UTDStreamException):  # a machine that has too much to do
            call, _ = operation.prepare()
            began = time.monotonic()
            call()
            times.append(time.monotonic() - began)
        operation.tidy()
    return statistics.median(times)


def measure_one(name: str, operation: Operation, each: int, dice: random.Random) -> Outcome:
    interrupter, outcome = Interrupter(), Outcome()
    usual = usual_s(operation)
    while outcome.interrupts < each and outcome.missed < 10 * each:
        try:
            call, owner = operation.prepare()
        except UTDStreamException as error:  # a machine that has too much to do
            outcome.missed += 1
            tell(f"{name}: not begun, {error}")
            operation.tidy()
            continue
        how = dice.choice(HOWS if owner is not None else HOWS[:2])
        came, was_under_way = interrupter.run(
            call, dice.uniform(0.0, usual), how, owner.dispose if owner is not None else lambda: None
        )
        if not was_under_way:
            outcome.missed += 1
            usual = (usual + interrupter.took_s) / 2  # this machine may have less to do by now
            operation.tidy()
            continue
        outcome.interrupts += 1
        wanted = WANTED[how]
        is_lost = interrupter.lost_by_python > outcome.lost_by_python
        outcome.lost_by_python = interrupter.lost_by_python
        outcome.thrown += how != "disposed" and not is_lost
        if is_lost:
            tell(f"{name} {outcome.interrupts}: Python gave the exception to another thread")
        elif not isinstance(came, wanted) and (how != "disposed" or isinstance(came, BaseException)):
            outcome.other.append(f"{how}: {came!r}{where(came)}"[:300])
            tell(f"{name} {outcome.interrupts}: {outcome.other[-1]}")
        began = time.monotonic()
        # It was over, and then disposed; or it was never interrupted.
        is_gone = is_lost or (how == "disposed" and not isinstance(came, BaseException))
        left = ""
        while not is_gone and time.monotonic() < began + PATIENCE_S and (now := operation.left()):
            left = now
            time.sleep(0.02)
        took = time.monotonic() - began
        outcome.slowest_s = max(outcome.slowest_s, round(took, 2))
        if took > WITHIN_S:
            outcome.left.append(f"{how}: gone after {took:.1f} s ({left}){where(came)}")
            tell(f"{name} {outcome.interrupts}: {outcome.left[-1]}")
        if outcome.interrupts % 100 == 0:
            tell(f"{name}: {outcome.interrupts}, {outcome.missed} came late")
        operation.tidy()
    return outcome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="of the operations, with commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sys.path.append(str(TESTS))
    from people import People

    outcomes: dict[str, Outcome] = {}
    with LocalStack(project={"max_concurrent_rooms": 10_000}) as stack:
        people = People(stack)
        for name, operation in operations(stack, people).items():
            if options.only is None or name in options.only.split(","):
                outcome = outcomes[name] = measure_one(
                    name, operation, options.each, random.Random(options.seed)
                )
                tell(
                    f"{name}: {outcome.interrupts} interrupts, {len(outcome.other)} other outcomes, "
                    f"{outcome.lost_by_python} that Python gave to another thread, "
                    f"{len(outcome.left)} left after {WITHIN_S:g} s, all gone after {outcome.slowest_s:g} s"
                )
        people.close()
    holds = not any(outcome.other or outcome.left for outcome in outcomes.values())
    total = sum(outcome.interrupts for outcome in outcomes.values())
    lost = sum(outcome.lost_by_python for outcome in outcomes.values())
    if options.json:
        print(json.dumps([{name: vars(one) for name, one in outcomes.items()} | {"holds": holds}], indent=2))
    else:
        print(
            f"{'ok  ' if holds else 'OVER'} {total} interrupts of {len(outcomes)} operations, "
            f"{lost} that Python gave to another thread"
        )
        for name, outcome in outcomes.items():
            for one in (*outcome.other, *outcome.left):
                print(f"     {name}: {one}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
