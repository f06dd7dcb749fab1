"""The interpreter's switch interval: lowered while a room is joined, and given back."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from utdstream import ClientConfig, InvalidConfig
from utdstream._threads.switch_interval import SwitchInterval


@pytest.fixture(autouse=True)
def as_usual() -> Iterator[None]:
    """The story begins at Python's own 5 ms; what was before is set again after it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def now_ms() -> float:
    return round(sys.getswitchinterval() * 1000, 2)


def test_switch_interval_when_two_want_it_is_given_back_after_the_last() -> None:
    """The lower wish wins while it is there."""
    interval = SwitchInterval()
    interval.lower("door", 0.001)
    assert now_ms() == 1.0
    interval.lower("house", 0.0005)
    assert now_ms() == 0.5
    interval.restore("house")
    assert now_ms() == 1.0
    interval.restore("door")
    assert now_ms() == 5.0
    interval.restore("door")
    assert now_ms() == 5.0


def test_switch_interval_when_it_is_lower_already_is_never_raised() -> None:
    """A program that wants it lower knows why."""
    sys.setswitchinterval(0.0001)
    interval = SwitchInterval()
    interval.lower("door", 0.001)
    assert now_ms() == 0.1
    interval.restore("door")
    assert now_ms() == 0.1


def test_switch_interval_when_the_program_sets_it_meanwhile_has_the_programs_word() -> None:
    """It stays as the program has set it, in the call and after it; the next call begins anew."""
    interval = SwitchInterval()
    interval.lower("door", 0.001)
    sys.setswitchinterval(0.02)
    interval.lower("house", 0.0005)
    assert now_ms() == 20.0
    interval.restore("house")
    interval.restore("door")
    assert now_ms() == 20.0
    interval.lower("door", 0.001)
    assert now_ms() == 1.0
    interval.restore("door")
    assert now_ms() == 20.0


def test_switch_interval_when_nobody_wants_it_is_left_alone() -> None:
    """`ClientConfig(switch_interval_s=None)`."""
    interval = SwitchInterval()
    interval.lower("door", None)
    assert now_ms() == 5.0
    interval.restore("door")
    assert now_ms() == 5.0


def test_client_config_when_its_switches_are_wrong_says_what_they_may_be() -> None:
    """None is a value of one of them alone."""
    assert ClientConfig(direct_audio=False, switch_interval_s=None).direct_audio is False
    with pytest.raises(InvalidConfig, match="direct_audio must be True or False, not 1"):
        ClientConfig(direct_audio=1)  # type: ignore[arg-type]  # the point
    for wrong in (0, -1, True, "1"):
        with pytest.raises(InvalidConfig, match="switch_interval_s must be a positive number"):
            ClientConfig(switch_interval_s=wrong)  # type: ignore[arg-type]  # the point
