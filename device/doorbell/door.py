"""Whether a request opens the door: (memory, request, call, rules) -> (memory, verdict). Pure.

Owns: every decision about the door, its codes and sentences. Standard library only; the clock is an argument.

1. The peer of the call alone is heard, under the name that the media server gives; anybody else gets no answer.
   The media server may not name it yet when both have just joined: it is told to ask again, and uses nothing up.
2. The callee who answered a call of the door may open. A caller may when it is one of `openers` and a person
   answered its call, or the policy `callees` did; a call that `always` answered opens nothing.
3. A request names its call and carries a nonce. A nonce opens once, whatever became of it: a repeated message
   opens nothing, in no call.
4. A PIN, when there is one, is demanded on top. MOST_WRONG_PINS wrong ones, of whoever, lock the door to requests
   for LOCK_S. A PIN that cannot be read keeps the door shut.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from enum import Enum

MOST_WRONG_PINS = 5
LOCK_S = 900.0
MOST_REQUESTS = 64
"""Requests of one call that are judged; what follows is dropped."""
MOST_USED = 256
"""Nonces that are remembered. More than one call may use, so that none of the present call is ever forgotten; one
of an older call names a call that is over."""


class AnsweredBy(Enum):
    """How the present call came to be answered. The value says why its peer may open, for people."""

    CALLEE = "answered the door's call"
    PERSON = "is an opener, and a person answered its call"
    CALLEES = "is an opener, and a callee whom the door answers"
    ALWAYS = "called a door that answers everybody"


class WhyShut(Enum):
    """Why the door stays shut: code, and the sentence that the asking side is told."""

    NOT_ALLOWED = ("not_allowed", "this call may not open the door; see [door] openers of the door")
    UNNAMED = ("unnamed", "the media server does not name the sender yet; ask again in a moment")
    MALFORMED = ("malformed", "the request must have type, call_id and a nonce of 16 to 64 letters or digits")
    TOO_MANY = ("too_many", f"{MOST_REQUESTS} requests are enough for one call; hang up and call again")
    WRONG_CALL = ("wrong_call", "the request names another call; send the call_id of this one")
    REPLAYED = ("replayed", "this nonce was used before; ask again with a new one")
    PIN_REQUIRED = ("pin_required", "the door wants a PIN; ask again with `pin` and a new nonce")
    WRONG_PIN = ("wrong_pin", "the PIN is wrong; ask again with the right one and a new nonce")
    LOCKED = ("locked", f"too many wrong PINs; the door takes no requests for {LOCK_S / 60:.0f} minutes")
    PIN_UNREADABLE = ("pin_unreadable", "the door cannot read its PIN; its status says why")
    NO_OPENER = ("no_opener", "there is no opener at this door; see [door] adapter of the door")

    @property
    def code(self) -> str:
        """Its word, for programs."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What it means and what to do, for people."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What the configuration says. `pin` None: none is demanded; `pin_unreadable`: one is, and it is not known."""

    openers: tuple[str, ...] = ()
    pin: str | None = field(default=None, repr=False)
    pin_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """The other side of the call asks for the door; `identity` is the sender that the media server names, if it
    names one.

    `call_id` and `nonce` are empty in a message that lacks them; `at_s` is a clock that never jumps.
    """

    identity: str
    call_id: str = ""
    nonce: str = ""
    pin: str | None = field(default=None, repr=False)
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StandingCall:
    """The call that stands."""

    peer: str
    call_id: str
    answered_by: AnsweredBy


@dataclass(frozen=True, slots=True)
class DoorMemory:
    """What is remembered of requests; it outlives calls."""

    used: tuple[str, ...] = ()
    requests: int = 0
    wrong_pins: int = 0
    locked_until_s: float = 0.0

    def for_a_new_call(self) -> DoorMemory:
        """Counts the requests of a call anew; nonces and wrong PINs stay."""
        return replace(self, requests=0)


@dataclass(frozen=True, slots=True)
class Opened:
    """The door opens; `why` ends the sentence that its opener begins."""

    why: str


Verdict = Opened | WhyShut | None


def judge(
    memory: DoorMemory, request: OpenRequest, call: StandingCall | None, rules: DoorRules
) -> tuple[DoorMemory, Verdict]:
    """Decides on one request. A verdict of None: the sender is no party of a call, and is told nothing."""
    if call is not None and not request.identity:
        return memory, WhyShut.UNNAMED
    if call is None or request.identity != call.peer:
        return memory, None
    if not _is_entitled(call, rules):
        return memory, WhyShut.NOT_ALLOWED
    if memory.requests >= MOST_REQUESTS:
        return memory, WhyShut.TOO_MANY
    memory = replace(memory, requests=memory.requests + 1)
    if not (request.call_id and request.nonce):
        return memory, WhyShut.MALFORMED
    if request.call_id != call.call_id:
        return memory, WhyShut.WRONG_CALL
    if request.nonce in memory.used:
        return memory, WhyShut.REPLAYED
    memory = replace(memory, used=(*memory.used, request.nonce)[-MOST_USED:])
    memory, refusal = _ask_for_pin(memory, request, rules)
    return memory, refusal or Opened(call.answered_by.value)


def _is_entitled(call: StandingCall, rules: DoorRules) -> bool:
    if call.answered_by is AnsweredBy.CALLEE:
        return True
    return call.answered_by is not AnsweredBy.ALWAYS and call.peer in rules.openers


def _ask_for_pin(
    memory: DoorMemory, request: OpenRequest, rules: DoorRules
) -> tuple[DoorMemory, WhyShut | None]:
    if rules.pin_unreadable:
        return memory, WhyShut.PIN_UNREADABLE
    if rules.pin is None:
        return memory, None
    if request.at_s < memory.locked_until_s:
        return memory, WhyShut.LOCKED  # also with the right PIN: the answer must not tell which it is
    if request.pin is None:
        return memory, WhyShut.PIN_REQUIRED
    if hmac.compare_digest(request.pin.encode(), rules.pin.encode()):
        return replace(memory, wrong_pins=0), None
    wrong = memory.wrong_pins + 1
    if wrong < MOST_WRONG_PINS:
        return replace(memory, wrong_pins=wrong), WhyShut.WRONG_PIN
    return replace(memory, wrong_pins=0, locked_until_s=request.at_s + LOCK_S), WhyShut.LOCKED
