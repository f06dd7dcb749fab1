"""What a fault of the matrix is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from phases import PHASES, Reached, Strike
from scene import Ear, Scene

from utdstream import Devices, UTDStreamType

NO_ROOM = "the device is in no room then"


@dataclass(frozen=True)
class Fault:
    """One of the sixty: its name in the table, and how it is done to a scene's victim.

    `not_in`: the phases it does not concern, each with its reason. `lasts_s`: how long the fault holds, chosen
    between by the seed. `may_end`: the call may be lost by it. `course`: the whole cell, for a fault that is not
    over after a while. `meets`: it is something only when a packet or request meets it. `needs_join`: in the phase
    of connecting it strikes when the join is under way. `is_felt_by_all`: all on this machine feel it.
    """

    name: str
    strike: Strike | None = None
    not_in: Mapping[str, str] = field(default_factory=dict)
    lasts_s: tuple[float, float] = (2.0, 4.0)
    may_end: bool = False
    hears: bool = True
    kind: UTDStreamType = UTDStreamType.AUDIO_CALL
    devices: Callable[[Ear], Devices] | None = None
    meets: bool = False
    course: Callable[[Scene, str, Reached], None] | None = None
    needs_join: bool = False
    is_felt_by_all: bool = False


def except_in(*phases: str, why: str) -> dict[str, str]:
    """Returns these phases with one reason."""
    assert set(phases) <= set(PHASES)
    return dict.fromkeys(phases, why)


def only_in(*phases: str, why: str) -> dict[str, str]:
    """Returns all other phases with one reason."""
    return except_in(*(phase for phase in PHASES if phase not in phases), why=why)
