"""Paired measurement for a noisy machine: ABBA order, medians of pair ratios, a bootstrap interval.

Two runs of the same code differ by half on a shared machine; two neighbours in one run hardly do. So each
pair is taken in the order A B B A, and the figure is the median of the pair ratios with the upper end of
its 95 % bootstrap interval.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """`ours` against `theirs`, both in milliseconds; `ratio` is the median of the pair ratios."""

    name: str
    pairs: int
    ours_p50_ms: float
    theirs_p50_ms: float
    ratio: float
    ratio_upper_95: float
    bar: float

    @property
    def holds(self) -> bool:
        return self.ratio <= self.bar

    def line(self) -> str:
        mark = "ok  " if self.holds else "OVER"
        return (
            f"{mark} {self.name}: {self.ratio:.3f} of raw (95 %: at most {self.ratio_upper_95:.3f}; "
            f"bar {self.bar:g}), {self.ours_p50_ms:.3f} ms against {self.theirs_p50_ms:.3f} ms, "
            f"{self.pairs} pairs"
        )


def bootstrap_medians(ratios: list[float]) -> list[float]:
    """Medians of resampled pair ratios, sorted: the interval of the median is read off its ends."""
    dice = random.Random(1)
    return sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))


def compare(
    name: str, ours: Callable[[], float], theirs: Callable[[], float], *, pairs: int, bar: float
) -> Comparison:
    """Runs both arms (each returns its own duration in ms) `2 * pairs` times in ABBA order."""
    mine: list[float] = []
    raw: list[float] = []
    for _ in range(pairs):
        first_raw = theirs()
        first_mine = ours()
        second_mine = ours()
        second_raw = theirs()
        mine.append((first_mine + second_mine) / 2)
        raw.append((first_raw + second_raw) / 2)
    ratios = [a / b for a, b in zip(mine, raw, strict=True)]
    medians = bootstrap_medians(ratios)
    return Comparison(
        name=name,
        pairs=pairs,
        ours_p50_ms=statistics.median(mine),
        theirs_p50_ms=statistics.median(raw),
        ratio=statistics.median(ratios),
        ratio_upper_95=medians[int(RESAMPLES * 0.975)],
        bar=bar,
    )


def report(results: list[Comparison], *, as_json: bool) -> int:
    """Prints the results; 0 when every bar holds."""
    if as_json:
        print(json.dumps([asdict(result) | {"holds": result.holds} for result in results], indent=2))
    else:
        for result in results:
            print(result.line())
    return 0 if all(result.holds for result in results) else 1
