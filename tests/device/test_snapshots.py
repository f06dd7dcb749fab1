"""The pictures of presses: which are kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from device.doorbell import snapshots

DAY_MS = 24 * 3600 * 1000


def test_pictures_when_there_are_too_many_are_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a file of its own, named by its time."""
    began = time.time_ns()
    kept = []
    for number in range(5):
        monkeypatch.setattr(time, "time_ns", lambda number=number: began + number * 10**9)
        kept.append(snapshots.keep(b"picture", tmp_path, 3))
    assert sorted(tmp_path.iterdir()) == kept[-3:]


def test_pictures_when_the_clock_is_behind_and_set_later_are_those_of_the_last_presses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door without a battery boots in the past: its visitors are not the first to be forgotten."""
    now = time.time_ns()
    kept = []
    for offset in (0, 1, 2, -DAY_MS, -DAY_MS + 1, 3):
        monkeypatch.setattr(time, "time_ns", lambda offset=offset: now + offset * 10**6)
        kept.append(snapshots.keep(b"picture", tmp_path, 3))
    assert set(tmp_path.iterdir()) == set(kept[-3:])
