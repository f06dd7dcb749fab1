"""Two processes of `benchmarks.cut_party` that take part in the same; the far one has a link of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from benchmarks.links import Link
from utdstream.testing import LocalStack

PATIENCE_S = 60.0
_numbers = count()


class Side:
    """A process of `benchmarks.cut_party`."""

    def __init__(
        self, stack: LocalStack, side: str, number: int, kinds: tuple[str, ...], group: int | None
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cut_party"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            group=group,
            extra_groups=[] if group is not None else None,
        )
        where = {"app_id": stack.app_id, "app_key": stack.app_key, "base_url": stack.base_url}
        self._say({**where, "side": side, "number": number, "kinds": kinds})
        self._name = f"{side} {number}"

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        self._say({"do": do, **more})
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"side {self._name} has ended with {self.process.wait()}")
        return dict(json.loads(line))

    def _say(self, what: dict[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Pair:
    """Two sides, of which the far one has a link of its own."""

    def __init__(self, stack: LocalStack, kinds: tuple[str, ...]) -> None:
        number = next(_numbers)
        self.kinds = kinds
        self.link = Link(number)
        self.near = Side(stack, "near", number, kinds, None)
        self.far: Side | None = None
        try:
            self.near.answer()
            self.far = Side(stack, "far", number, kinds, self.link.group)
            self.far.answer()
            self.near.ask("watch")
            self.far.ask("watch")
            if not until(lambda: all(self._is_there(side) for side in self.sides)):
                raise RuntimeError(f"pair {number} does not hear and see each other: {self.state()}")
        except BaseException:
            self.close()
            raise

    @property
    def sides(self) -> tuple[Side, Side]:
        assert self.far is not None
        return self.near, self.far

    def _is_there(self, side: Side) -> bool:
        state = side.ask("state")
        return bool(state["ready"]) and set(state["kinds"]) == set(self.kinds)

    def ask(self, do: str, **more: object) -> tuple[dict[str, Any], dict[str, Any]]:
        near, far = (side.ask(do, **more) for side in self.sides)
        return near, far

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.ask("state")

    def is_back(self) -> bool:
        return all(
            kind["sound"] is not None and kind["picture"] is not None and kind["connected"]
            for side in self.state()
            for kind in side["kinds"].values()
        ) and all(side["inbox"]["connected"] for side in self.state())

    def close(self) -> None:
        for side in (self.near, self.far):
            if side is not None:
                side.close()


@contextmanager
def a_pair(stack: LocalStack, kinds: tuple[str, ...]) -> Iterator[Pair]:
    pair = Pair(stack, kinds)
    try:
        yield pair
    finally:
        pair.close()


def until(holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    over = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > over:
            return False
        time.sleep(0.02)
    return True
