"""Who opens the door: the rules, and the messages, without a clock, a thread or a network."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from device.doorbell.door import (
    LOCK_S,
    MOST_REQUESTS,
    MOST_USED,
    MOST_WRONG_PINS,
    AnsweredBy,
    DoorMemory,
    DoorRules,
    Opened,
    OpenRequest,
    StandingCall,
    WhyShut,
    judge,
)
from device.doorbell.messages import MOST_BYTES, DoorMessage, answer, request_of

CALL = StandingCall("anna", "call_1", AnsweredBy.CALLEE)
PIN = DoorRules(pin="271828")


def request(
    number: int, *, pin: str | None = None, at_s: float = 0.0, call_id: str = "call_1"
) -> OpenRequest:
    """One of anna's, its nonce made of the number."""
    return OpenRequest("anna", call_id, f"nonce-{number:012}", pin, at_s)


def test_request_when_everything_varies_opens_in_exactly_the_allowed_cases() -> None:
    """All combinations of sender, call, how it was answered, openers, nonce, PIN and lock."""
    opened = 0
    for identity, answered_by, openers, call_id, nonce, wanted, given, locked in itertools.product(
        ("anna", "ben", ""),
        AnsweredBy,
        ((), ("anna",), ("ben",)),
        ("call_1", "call_2", ""),
        ("fresh-nonce-0001", "used-nonce-00001", ""),
        (None, "271828"),
        (None, "271828", "000000", "27182"),
        (False, True),
    ):
        memory = DoorMemory(used=("used-nonce-00001",), locked_until_s=10.0 if locked else 0.0)
        call = StandingCall("anna", "call_1", answered_by)
        asked = OpenRequest(identity, call_id, nonce, given, at_s=5.0)
        after, verdict = judge(memory, asked, call, DoorRules(openers, wanted))
        entitled = answered_by is AnsweredBy.CALLEE or (
            answered_by in (AnsweredBy.PERSON, AnsweredBy.CALLEES) and openers == ("anna",)
        )
        may = (
            (identity, call_id, nonce) == ("anna", "call_1", "fresh-nonce-0001")
            and entitled
            and (wanted is None or (given == wanted and not locked))
        )
        assert isinstance(verdict, Opened) == may, asked
        assert (verdict is None) == (identity == "ben")
        assert (verdict is WhyShut.UNNAMED) == (identity == "")
        assert verdict is not WhyShut.UNNAMED or after == memory, "the nonce may be asked with again"
        if may:
            opened += 1
            assert judge(after, asked, call, DoorRules(openers, wanted))[1] is WhyShut.REPLAYED
    assert opened == (3 + 1 + 1) * (4 * 2 + 1)


def test_request_when_no_call_stands_is_nobodys() -> None:
    """Whatever it says."""
    assert judge(DoorMemory(), request(1), None, DoorRules(("anna",))) == (DoorMemory(), None)


def test_nonce_when_its_request_was_refused_is_used_up() -> None:
    """A wrong PIN cannot be mended in a copy of the message."""
    memory, verdict = judge(DoorMemory(), request(1, pin="000000"), CALL, PIN)
    assert verdict is WhyShut.WRONG_PIN
    assert judge(memory, request(1, pin="271828"), CALL, PIN)[1] is WhyShut.REPLAYED


def test_pin_when_wrong_five_times_locks_the_door_for_a_quarter_of_an_hour() -> None:
    """Also for the right one, whoever asks and in whatever call; then all begins anew."""
    memory = DoorMemory()
    for number in range(MOST_WRONG_PINS - 1):
        memory, verdict = judge(memory, request(number, pin="000000", at_s=100), CALL, PIN)
        assert verdict is WhyShut.WRONG_PIN
    memory, verdict = judge(memory, request(10, pin="000000", at_s=100), CALL, PIN)
    assert verdict is WhyShut.LOCKED
    memory = memory.for_a_new_call()
    late = request(11, pin="271828", at_s=100 + LOCK_S - 1)
    other = StandingCall("ben", "call_2", AnsweredBy.CALLEE)
    for call, asked in (
        (CALL, late),
        (other, replace(late, identity="ben", call_id="call_2", nonce="b" * 16)),
    ):
        memory, verdict = judge(memory, asked, call, PIN)
        assert verdict is WhyShut.LOCKED
    memory, verdict = judge(memory, request(12, pin="271828", at_s=100 + LOCK_S), CALL, PIN)
    assert isinstance(verdict, Opened)


def test_pin_when_right_forgets_the_wrong_ones_and_when_missing_counts_as_none() -> None:
    """Somebody who mistypes now and then is never locked out; a phone that sends no PIN guesses nothing."""
    memory = DoorMemory()
    for number in range(40):
        memory, verdict = judge(
            memory.for_a_new_call(), request(number, pin=(None, "0000", "271828")[number % 3]), CALL, PIN
        )
        assert (
            verdict == (WhyShut.PIN_REQUIRED, WhyShut.WRONG_PIN, Opened(CALL.answered_by.value))[number % 3]
        )


def test_pin_when_it_cannot_be_read_keeps_the_door_shut() -> None:
    """A lost file is no permission."""
    rules = DoorRules(pin_unreadable=True)
    assert judge(DoorMemory(), request(1, pin="271828"), CALL, rules)[1] is WhyShut.PIN_UNREADABLE


def test_memory_when_flooded_stays_small_and_forgets_no_nonce_of_the_present_call() -> None:
    """What is too much for one call is refused before anything is forgotten."""
    memory, first = DoorMemory(), request(0)
    for number in range(10 * MOST_USED):
        if number % 50 == 0:
            memory = memory.for_a_new_call()
        memory, _ = judge(memory, request(number), CALL, DoorRules())
    assert len(memory.used) == MOST_USED
    memory = memory.for_a_new_call()
    memory, _ = judge(memory, replace(first, nonce="first-0123456789"), CALL, DoorRules())
    for number in range(10 * MOST_USED):
        memory, verdict = judge(memory, request(9_000_000 + number), CALL, DoorRules())
    assert verdict is WhyShut.TOO_MANY
    assert "first-0123456789" in memory.used
    assert MOST_REQUESTS < MOST_USED


def test_pin_when_rules_or_requests_are_shown_is_not_in_them() -> None:
    """Neither in a log nor in a traceback."""
    assert "271828" not in repr(PIN) + repr(request(1, pin="271828")) + repr(DoorMessage("c", "n", "271828"))


SOUND = {"type": "open_door", "call_id": "call_1", "nonce": "0123456789abcdef"}


@pytest.mark.parametrize(
    "said",
    [
        {"type": "open_door"},
        SOUND | {"x": 1},
        SOUND | {"nonce": 12345678901234567890},
        SOUND | {"nonce": "short"},
        SOUND | {"nonce": "0123456789abcdef\n"},
        SOUND | {"nonce": "0123456789abcdef" * 5},
        SOUND | {"call_id": ""},
        SOUND | {"call_id": None},
        SOUND | {"call_id": ["call_1"]},
        SOUND | {"pin": 1234},
        SOUND | {"pin": ""},
        SOUND | {"pin": "\ud800" * 4},
        SOUND | {"pin": "1" * 65},
    ],
)
def test_message_when_misspelled_is_a_request_without_a_call(said: dict[str, object]) -> None:
    """So it is answered with what is missing, and opens nothing; the message of older programs is one of them."""
    asked = request_of(json.dumps(said).encode())
    assert asked == DoorMessage()
    assert (
        judge(DoorMemory(), OpenRequest("anna", asked.call_id, asked.nonce), CALL, DoorRules())[1]
        is WhyShut.MALFORMED
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"open",
        b"[" * 400,
        b"[]",
        b'"open_door"',
        b'{"type": ["open_door"]}',
        b"\xff",
        b'{"type": "chat"}',
        b"9" * 500,
    ],
)
def test_message_when_about_something_else_is_no_request(message: bytes) -> None:
    """Chat goes by unanswered."""
    assert request_of(message) is None


def test_message_when_sound_is_read_and_when_too_long_is_not() -> None:
    """With a PIN and without."""
    assert request_of(json.dumps(SOUND).encode()) == DoorMessage("call_1", "0123456789abcdef", None)
    assert request_of(json.dumps(SOUND | {"pin": "271828"}).encode()) == DoorMessage(
        "call_1", "0123456789abcdef", "271828"
    )
    assert request_of(json.dumps(SOUND).encode() + b" " * MOST_BYTES) is None


def test_answer_when_written_names_the_nonce_and_why() -> None:
    """A phone knows which of its requests it is about."""
    refusal = WhyShut.WRONG_PIN
    assert json.loads(answer("0123456789abcdef", refusal.code, refusal.sentence)) == {
        "type": "open_door_answer",
        "opened": False,
        "code": "wrong_pin",
        "message": refusal.sentence,
        "nonce": "0123456789abcdef",
    }
    assert json.loads(answer("", "opened", "the door is open"))["opened"] is True
