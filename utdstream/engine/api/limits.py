"""Rate limits: a bucket per key, refilled steadily; and which device claimed a session a moment ago.

Owns: how often one identity may ask, and how soon another device may take over its session. Pure arithmetic on
a clock that is given; used on the loop thread. Imports the standard library only. Bounded: the least
recently used keys are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_KEYS = 20_000


class Buckets:
    """Allows each key so many requests in each period of `seconds`, all of them at once if need be."""

    def __init__(self, count: int, seconds: float = 60.0) -> None:
        self._capacity = float(count)
        self._per_second = count / seconds
        self._levels: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, key: object, now_s: float, cost: float = 1.0) -> float:
        """0 when the request may pass, else the seconds to wait. `now_s` is monotonic."""
        level, then = self._levels.pop(key, (self._capacity, now_s))
        level = min(self._capacity, level + max(0.0, now_s - then) * self._per_second)
        wait_s = 0.0 if level >= cost else (cost - level) / self._per_second
        self._levels[key] = (level - cost if wait_s == 0.0 else level, now_s)
        while len(self._levels) > MAX_KEYS:
            self._levels.popitem(last=False)
        return wait_s


class Claims:
    """Which device claimed a session, and when: for `cooldown_s` no other device gets it."""

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._claims: OrderedDict[object, tuple[str, float]] = OrderedDict()

    def wait_s(self, key: object, device: str, now_s: float) -> float:
        """The seconds this device has to wait; 0 when it may have the session. `now_s` is monotonic."""
        claim = self._claims.get(key)
        if claim is None or claim[0] == device:
            return 0.0
        return max(0.0, claim[1] + self._cooldown_s - now_s)

    def claim(self, key: object, device: str, now_s: float) -> None:
        """The session is this device's now."""
        self._claims.pop(key, None)
        self._claims[key] = (device, now_s)
        while len(self._claims) > MAX_KEYS:
            self._claims.popitem(last=False)
