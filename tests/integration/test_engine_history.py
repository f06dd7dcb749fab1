"""A recorded history of random operations is what a sequential model of each room and each call allows."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from engine_site import Site
from history import LOST, Wire
from history_clients import KINDS, Crowd, arena
from servers import every_refusal_is_declared

from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPERATIONS = int(os.environ.get("UTD_HISTORY_OPERATIONS", "24000"))


@pytest.fixture
def stack_to_kill(programs: None) -> Iterator[LocalStack]:
    """A stack whose calls ring longer than the test lasts."""
    with LocalStack(project={"call_ring_timeout_s": 600.0, "max_participants_per_room": 100}) as stack:
        yield stack
        every_refusal_is_declared(stack)


@pytest.mark.timeout(600)
def test_answers_when_the_engine_is_killed_between_fit_one_order(stack_to_kill: LocalStack) -> None:
    """32 clients, random operations, one kill -9: no answer that a sequential model would not give."""
    stack = stack_to_kill
    seed = os.environ.get("UTD_HISTORY_SEED") or f"{random.SystemRandom().randrange(2**32)}"
    print(f"the seed is {seed} (UTD_HISTORY_SEED)")  # noqa: T201  # pytest shows it with a failure
    site, never = Site(stack), threading.Event()
    arenas = [arena(site.server(), number) for number in range(6)]
    secret = {routes.HEADER_APP_ID: stack.app_id, routes.HEADER_APP_SECRET: stack.app_secret}
    crowd = Crowd(
        arenas,
        seed,
        lambda who: Wire(stack.base_url, site.person(who).headers, never),
        lambda: Wire(stack.base_url, secret, never),
    )
    crowd.start()
    try:
        assert crowd.recorder.wait_for(OPERATIONS // 2, within_s=240), "too slow"
        stack.kill("engine")
        stack.start("engine")
        # Chance may leave a rare kind out for long: the clients go on until each has worked.
        assert crowd.recorder.wait_for(OPERATIONS, within_s=240, kinds=KINDS), (
            "too slow, or a kind never worked"
        )
    finally:
        crowd.stop()
        site.close()
    operations = crowd.recorder.operations
    violations = crowd.room_violations(operations) + crowd.call_violations(operations)
    done = Counter(op.kind for op in operations if op.is_done)
    codes = Counter(op.code for op in operations if op.code)
    print(f"{len(operations)} operations, done: {dict(done)}, refused: {dict(codes)}")  # noqa: T201
    assert not violations, "\n".join(violations[:10])
    assert len(operations) >= OPERATIONS
    assert any(op.status is LOST for op in operations), "the kill hit nobody"
    assert not {"internal", "unavailable", "rate_limited"} & {*codes}
