"""What a link is like: cut, refusing, slow, lossy, narrow; for everybody or for some.

Owns: one condition, and how those of one link that hold at the same time add up. Any thread. No socket here.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Link = Literal["engine", "mqtt", "signal", "media"]
LINKS: tuple[Link, ...] = ("engine", "mqtt", "signal", "media")

_RESENT_AFTER_S = 0.2
"""What a lost piece of a TCP stream costs: the kernel's own shortest wait before it sends it again."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What is done to what passes."""

    is_cut: bool = False
    is_refused: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    bytes_per_s: float | None = None
    answer: bytes | None = None
    """What new connections get, and nothing else."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One effect on some links, for `only` these identities (None: for everybody)."""

    links: tuple[Link, ...]
    only: frozenset[str] | None
    effect: Effect

    def concerns(self, link: Link, identity: str | None) -> bool:
        """Whether it holds for this user on this link."""
        return link in self.links and (self.only is None or identity in self.only)


_NONE = Effect()


class Conditions:
    """Those that hold now. `seed` decides what is lost and how late the rest is. Any thread."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Condition, ...] = ()
        self._random = random.Random(seed)
        self.met = 0
        """How often something was asked about that is not as it should be."""

    @contextmanager
    def held(self, condition: Condition) -> Iterator[None]:
        """Lets it hold for as long as the block."""
        with self._lock:
            self._held = (*self._held, condition)
        try:
            yield
        finally:
            with self._lock:
                self._held = tuple(one for one in self._held if one is not condition)

    def on(self, link: Link, identity: str | None) -> Effect:
        """What is done there now, all together."""
        there = [one.effect for one in self._held if one.concerns(link, identity)]
        if not there:
            return _NONE
        self.met += 1
        passed = 1.0
        for one in there:
            passed *= 1.0 - one.loss
        return Effect(
            is_cut=any(one.is_cut for one in there),
            is_refused=any(one.is_refused for one in there),
            delay_s=sum(one.delay_s for one in there),
            jitter_s=sum(one.jitter_s for one in there),
            loss=1.0 - passed,
            bytes_per_s=min((one.bytes_per_s for one in there if one.bytes_per_s is not None), default=None),
            answer=next((one.answer for one in there if one.answer is not None), None),
        )

    def is_lost(self, now: Effect) -> bool:
        """Whether this packet is one of those that get lost."""
        return now.loss > 0.0 and self._random.random() < now.loss

    def late_by(self, now: Effect, *, is_stream: bool) -> float:
        """How many seconds this piece is on its way; in a stream what is lost is sent again."""
        late = now.delay_s
        if now.jitter_s:
            late += self._random.uniform(-now.jitter_s, now.jitter_s)
        if is_stream and self.is_lost(now):
            late += _RESENT_AFTER_S
        return max(0.0, late)
