"""Whatever comes from outside is read, refused in one typed sentence, or ignored: recorded traffic, spoilt.

What once failed is kept in `corpus/`, a file a kind of input, and asked again each time.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutations import RECORDED, Doors, Mutator

CASES = int(os.environ.get("UTD_MUTATIONS", "50000"))
"""Of all kinds together."""
SEED = int(os.environ.get("UTD_MUTATIONS_SEED", "0")) or time.time_ns()
CORPUS = Path(__file__).parent / "corpus"
LONGEST_S = 1.0
MOST_GROWTH_MIB = 10.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is survived is logged, a million times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def keep(kind: str, raw: bytes) -> Path:
    """Puts what failed aside, for the corpus."""
    path = CORPUS / f"{kind}.new"
    with path.open("a") as file:
        file.write(json.dumps(base64.b64encode(raw).decode()) + "\n")
    return path


@pytest.mark.parametrize("kind", RECORDED)
def test_input_when_recorded_or_once_failed_is_survived(kind: str) -> None:
    """The recordings as they are, and the corpus."""
    doors, path = Doors(), CORPUS / f"{kind}.txt"
    kept = (
        [base64.b64decode(json.loads(line)) for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )
    for raw in (*RECORDED[kind], *kept):
        getattr(doors, kind)(raw)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", RECORDED)
def test_input_when_spoilt_raises_typed_errors_alone(kind: str) -> None:
    """In time, without a secret in any sentence, and without growing."""
    mutator, doors = Mutator(SEED), Doors()
    slowest_s, before_mib = 0.0, 0.0
    cases = CASES // len(RECORDED)
    for number in range(cases):
        if number == cases // 5:
            before_mib = resident_mib()
        raw = mutator.spoil(mutator.random.choice(RECORDED[kind]))
        began = time.thread_time()
        try:
            getattr(doors, kind)(raw)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is kept
            pytest.fail(f"{error!r}: {raw[:300]!r}, seed {SEED}, kept in {keep(kind, raw)}")
        slowest_s = max(slowest_s, time.thread_time() - began)
    grown_mib = resident_mib() - before_mib
    print(f"{kind}: {cases} inputs, the slowest took {slowest_s * 1000:.1f} ms, {grown_mib:+.1f} MiB")  # noqa: T201
    assert slowest_s < LONGEST_S
    assert grown_mib < MOST_GROWTH_MIB
