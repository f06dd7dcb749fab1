"""What a program wants of its devices: the newest word wins, and who gives up takes back its own word alone."""

from __future__ import annotations

import gc
import itertools
import random
import sys
import threading

import pytest

from utdstream._threads.wishes import NOTHING, Wish, Wishes

ON, MUTED = Wish(True), Wish(True, muted=True)


@pytest.fixture
def wishes() -> Wishes:
    """Nothing wished yet."""
    return Wishes()


def test_wish_when_nothing_was_wished_is_nothing(wishes: Wishes) -> None:
    """A room publishes nothing by itself."""
    assert wishes.of("microphone") == NOTHING
    assert not wishes.of("microphone").is_on


def test_wish_when_a_call_gives_up_is_what_it_was_before(wishes: Wishes) -> None:
    """A mute that timed out was no mute."""
    wishes.settle(wishes.make({"microphone": ON}))
    mute = wishes.make({"microphone": MUTED})
    assert wishes.of("microphone") == MUTED
    wishes.take_back(mute)
    assert wishes.of("microphone") == ON


@pytest.mark.parametrize("returned", [True, False])
def test_wish_when_an_older_call_gives_up_stays_what_the_newer_said(wishes: Wishes, returned: bool) -> None:
    """Two threads mute: the first one's deadline does not undo the second one's mute, returned or not."""
    wishes.settle(wishes.make({"microphone": ON}))
    first, second = wishes.make({"microphone": MUTED}), wishes.make({"microphone": MUTED})
    if returned:
        wishes.settle(second)
    wishes.take_back(first)
    assert wishes.of("microphone") == MUTED


def test_wish_when_both_calls_give_up_is_what_it_was_before_both(wishes: Wishes) -> None:
    """In either order."""
    for order in itertools.permutations((0, 1)):
        wishes.settle(wishes.make({"microphone": ON}))
        made = wishes.make({"microphone": MUTED}), wishes.make({"microphone": MUTED})
        for number in order:
            wishes.take_back(made[number])
        assert wishes.of("microphone") == ON


def test_wish_when_it_stands_cannot_be_taken_back(wishes: Wishes) -> None:
    """Nor by a call that gives up late, when the next call of the session has begun."""
    number = wishes.make({"microphone": MUTED})
    wishes.settle(number)
    wishes.take_back(number)
    assert wishes.of("microphone") == MUTED
    late = wishes.make({"microphone": MUTED})
    wishes.begin({"microphone": True})
    wishes.take_back(late)
    wishes.settle(late)
    assert wishes.of("microphone") == ON


def test_wish_when_withdrawn_and_published_again_is_muted_as_before(wishes: Wishes) -> None:
    """Who muted and left the seat is muted on the next one."""
    wishes.settle(wishes.make({"microphone": MUTED, "camera": ON}))
    wishes.withdraw()
    assert not wishes.of("microphone").published
    wishes.settle(wishes.publish(["microphone", "camera"]))
    assert (wishes.of("microphone"), wishes.of("camera")) == (MUTED, ON)
    wishes.change("microphone", muted=False)
    assert wishes.of("microphone") == ON


def test_wish_when_calls_of_many_threads_end_in_any_order_is_the_newest_that_did_not_give_up(
    wishes: Wishes,
) -> None:
    """All orders in which four calls under way can return or give up."""
    for outcome in itertools.product((True, False), repeat=4):
        for order in itertools.permutations(range(4)):
            wishes.begin({"microphone": True})
            made = [wishes.make({"microphone": Wish(True, muted=bool(n % 2))}) for n in range(4)]
            for number in order:
                (wishes.settle if outcome[number] else wishes.take_back)(made[number])
            stands = [number for number in range(4) if outcome[number]]
            assert wishes.of("microphone").muted is (bool(stands) and bool(stands[-1] % 2))


def test_wish_when_threads_wish_at_once_is_the_newest_that_stands(wishes: Wishes) -> None:
    """There is no lock: what a reader sees is always a wish that was made, in the end the newest that stands."""
    stands: list[tuple[int, bool]] = []
    over = threading.Event()
    seen: set[Wish] = set()
    wishes.begin({"microphone": True})

    def wish(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(300):
            muted = dice.random() < 0.5
            number = wishes.make({"microphone": Wish(True, muted=muted)})
            if dice.random() < 0.5:
                wishes.settle(number)
                stands.append((number, muted))
            else:
                wishes.take_back(number)

    def read() -> None:
        while not over.is_set():
            seen.add(wishes.of("microphone"))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        writers = [threading.Thread(target=wish, args=(seed,)) for seed in range(4)]
        reader = threading.Thread(target=read)
        for thread in (*writers, reader):
            thread.start()
        for writer in writers:
            writer.join()
    finally:
        over.set()
        reader.join()
        sys.setswitchinterval(before)
    assert wishes.of("microphone").muted is max(stands)[1]
    assert seen <= {ON, MUTED}


def test_wish_when_another_comes_in_the_middle_of_a_look_is_read_all_the_same(wishes: Wishes) -> None:
    """The collector runs where an object is made, and lets other threads in (up to Python 3.11)."""
    wishes.begin({"microphone": True})
    left = [wishes.make({"microphone": Wish(True)}) for _ in range(20)]

    def come_and_go(phase: str, _: object) -> None:
        if left:
            wishes.take_back(left.pop())
        wishes.make({"camera": Wish(True)})

    before = gc.get_threshold()
    gc.callbacks.append(come_and_go)
    gc.set_threshold(1)
    try:
        for _ in range(20):
            assert wishes.of("microphone") == Wish(True)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(come_and_go)
