"""Every public method from every callback, and from eight threads at once: no deadlock, only the SDK's errors."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator

import pytest
from every_method import ENDS, STALLED_S, Cast, Method, Outcome, methods_of, watched_of
from media_rooms import MediaRoom
from people import People

from utdstream.observe import Change
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CALLS = int(os.environ.get("UTD_RANDOM_CALLS", "10000"))
EACH_OF = int(os.environ.get("UTD_CALLBACK_STRIDE", "3"))
"""From one callback each third method is called, from the next one the next third; 1: all from each."""
THREADS = 8
JOINS = ("start", "accept", "start_any", "connect", "join_live_stream", "join_audio_room", "incoming_calls")
"""Seldom called at random: a join takes a hundred times as long as all else, and would be all that is tried."""
NEVER = (
    Method("client", "dispose"),
    Method("client", "close"),
    Method("inbox", "dispose"),
    Method("inbox", "close"),
)
"""Nothing could be called afterwards; these are called from callbacks, at the end."""


@pytest.fixture
def cast(people: People, stack: LocalStack) -> Iterator[Cast]:
    """Everybody, in rooms that really are."""
    with MediaRoom(stack) as hall:
        yield Cast(people, hall)


def stacks() -> str:
    """Where each thread is: what a deadlock is made of."""
    frames = sys._current_frames()
    return "".join(
        f"\n{thread.name} is at\n" + "".join(traceback.format_stack(frames[thread.ident])[-6:])
        for thread in threading.enumerate()
        if thread.ident in frames
    )


@pytest.mark.timeout(300)
def test_methods_when_called_from_every_callback_return_with_typed_errors(cast: Cast) -> None:
    """From the events thread of each object, where all its facts and signals are told: each of its methods."""
    cast.begin_call()
    chance, cells = random.Random(1), 0
    faults: list[str] = []
    everything = methods_of(cast)
    lasts = [method for method in everything if method.path in ENDS]
    for name in ("call", "talk", "stream", "seats", "room", "inbox", "client"):
        own = [method for method in everything if method.of == name and "." not in method.path]
        rest = [method for method in own if method not in lasts and method.path not in JOINS]
        for number, shown in enumerate(watched_of(cast.objects()[name])):
            chosen = rest[number % EACH_OF :: EACH_OF]
            cells += _from_callback(cast, name, shown, chosen, chance, faults)
    for method in sorted(lasts, key=lambda last: (last.of == "client", ENDS.index(last.path))):
        shown = watched_of(cast.objects()[method.of])[0]
        cells += _from_callback(cast, method.of, shown, [method], chance, faults)
    print(f"{cells} cells")  # noqa: T201 - shown by -s
    assert not faults, "\n".join(faults[:20])
    assert cells > 600 / EACH_OF


def _from_callback(
    cast: Cast, name: str, shown: str, methods: list[Method], chance: random.Random, faults: list[str]
) -> int:
    """Calls these one after the other in a callback; the number of calls."""
    outcomes: list[Outcome] = []
    done = threading.Event()

    def callback(_: object) -> None:
        outcomes.extend(method.call(cast, chance) for method in methods)
        done.set()

    lane = getattr(cast.objects()[name], shown)._lane
    if lane._closed:  # disposed before: there is no callback any more
        callback(None)
    lane.post(callback, Change(None, None))
    if not done.wait(STALLED_S + len(methods)):
        faults.append(f"{name}.{shown}: stands still after {[one.method for one in outcomes]}{stacks()}")
    faults += [f"in {name}.{shown}: {one.fault}" for one in outcomes if one.fault]
    return len(outcomes)


@pytest.mark.timeout(14_400)
def test_methods_when_called_at_random_by_eight_threads_return_with_typed_errors(cast: Cast) -> None:
    """Whatever meets whatever: sessions are begun, ended and disposed under the feet of other calls."""
    seed = int(os.environ.get("UTD_RANDOM_CALLS_SEED", "0")) or time.time_ns()
    chosen = [method for method in methods_of(cast) if method not in NEVER]
    weights = [0.01 if method.path in JOINS else 0.1 if method.path in ENDS else 1.0 for method in chosen]
    counts: Counter[str] = Counter()
    faults: list[str] = []
    now_in: dict[int, tuple[float, Method]] = {}
    left = iter(range(CALLS))
    lock = threading.Lock()

    def run(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while True:
            with lock:
                if next(left, None) is None or len(faults) > 10:
                    return
            if chance.random() < 0.02:
                cast.renew(chance)
            method = chance.choices(chosen, weights)[0]
            now_in[number] = (time.monotonic(), method)
            outcome = method.call(cast, chance)
            now_in.pop(number, None)
            counts[type(outcome.error).__name__ if outcome.error else "done"] += 1
            if outcome.fault is not None:
                trace = "".join(traceback.format_exception(outcome.error)[-4:]) if outcome.error else ""
                faults.append(f"{outcome.fault}\n{trace}")

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    told_at = time.monotonic()
    for thread in threads:
        while thread.is_alive():
            thread.join(1.0)
            if time.monotonic() > told_at + 60:
                told_at = time.monotonic()
                print(f"{sum(counts.values())} calls", flush=True)  # noqa: T201 - shown by -s
            stuck = [
                f"{method}"
                for since, method in [*now_in.values()]
                if time.monotonic() - since > 4 * STALLED_S
            ]
            assert not stuck, f"deadlock, seed {seed}: {stuck}{stacks()}"
    print(f"{sum(counts.values())} calls, seed {seed}: {dict(counts)}")  # noqa: T201 - shown by -s
    assert not faults, f"seed {seed}: " + "\n".join(faults[:10])
    assert counts["done"] > CALLS / 20
