"""Every public call that takes a `timeout` is back by then, whatever stands still behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

import pytest
from deadline_scene import FAULTS, LINES, Scene, Stalls, blocking_methods, call_all
from media_rooms import MediaRoom
from people import People
from relay import Relay

from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

LATE_S = 0.25
"""Five times the 50 ms that are promised."""


def test_table_when_a_method_takes_a_timeout_names_it() -> None:
    """A new one fails here until it is called below."""
    named = {name for line in LINES.values() for name in line}
    assert named == blocking_methods()


@pytest.fixture(scope="module")
def patient_stack(programs: None) -> Iterator[LocalStack]:
    """A stack whose parts may stand still."""
    with LocalStack() as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_when_something_stands_still_is_back_by_its_deadline(
    patient_stack: LocalStack, fault: str
) -> None:
    """It returns, or raises an error of the SDK; also `dispose`. Late is what is late twice."""
    late = late_calls(patient_stack, fault)
    if late:
        again = late_calls(patient_stack, fault)
        late = {name: said for name, said in late.items() if name in again}
    assert not late, "\n".join(late.values())


def late_calls(stack: LocalStack, fault: str) -> dict[str, str]:
    """The calls that were late, or raised what is none of the SDK's errors, and what is to be said of each."""
    people = People(stack)
    engine = urlsplit(stack.base_url)
    assert engine.hostname is not None
    assert engine.port is not None
    with Relay(engine.hostname, engine.port) as relay, MediaRoom(stack) as hall:
        scene = Scene(stack, people, relay, hall)
        stalls = Stalls()
        try:
            standing = FAULTS[fault](scene)
            with standing if isinstance(standing, AbstractContextManager) else nullcontext():
                measured = call_all(scene, stalls)
        finally:
            scene.let_go()
            people.close()
    return {
        one.name: str(one)
        for one in measured
        if one.late_s - stalls.since(one.until, one.until + one.late_s) > LATE_S or "UNTYPED" in one.came
    }
