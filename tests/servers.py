"""The real servers as fixtures, started once for all tests of a run that ask for them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from between import Between
from people import People

from utdstream.engine.api.server import UNDECLARED_CODE
from utdstream.engine.stack import binaries
from utdstream.testing import LocalStack


def require_programs() -> None:
    """Skip when a server program is missing on a developer's machine; fail on CI."""
    try:
        binaries.find_livekit_server()
        binaries.find_mosquitto()
        binaries.find_dynsec_plugin()
    except binaries.ProgramMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def every_refusal_is_declared(stack: LocalStack) -> None:
    """Fail when the engine refused with a code that the row of its operation does not name."""
    said = UNDECLARED_CODE.rpartition("%s")[2]
    lines = {line for line in stack.logs("engine").splitlines() if said in line}
    assert not lines, "add the code to the operation's row: " + "; ".join(sorted(lines))


@pytest.fixture(scope="session")
def programs() -> None:
    """livekit-server, mosquitto and its plugin are on this machine."""
    require_programs()


@pytest.fixture(scope="session")
def proxy(programs: None) -> None:
    """HAProxy is on this machine too."""
    try:
        binaries.find_haproxy()
    except binaries.ProgramMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stack(programs: None) -> Iterator[LocalStack]:
    """One running LocalStack for the whole run: leave all parts running, use names of your own."""
    with LocalStack(project={"max_concurrent_rooms": 10_000}) as running:
        yield running
        every_refusal_is_declared(running)


@pytest.fixture
def people(stack: LocalStack) -> Iterator[People]:
    """Signed-in clients on the shared stack."""
    made = People(stack)
    yield made
    made.close()


@pytest.fixture
def between(stack: LocalStack) -> Iterator[Between]:
    """A server in front of the shared stack's engine that can hold and lose what passes."""
    made = Between(stack)
    yield made
    made.close()


@pytest.fixture(scope="module")
def own_stack(programs: None) -> Iterator[LocalStack]:
    """A stack that the tests of one module may break; its calls ring for 6 s only."""
    with LocalStack(project={"call_ring_timeout_s": 6.0}) as running:
        yield running
        every_refusal_is_declared(running)


@pytest.fixture
def own_people(own_stack: LocalStack) -> Iterator[People]:
    """Signed-in clients on the module's own stack."""
    made = People(own_stack)
    yield made
    made.close()
