"""The cached Debian roots of `make test-picamera2` and `make test-systemd`, as far as they are here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.append(str(TOOLS))

import roots  # noqa: E402


def needed(tool: ModuleType, target: str) -> Path:
    """The root of a tool; where it is not built the test is skipped, on CI too: it takes minutes."""
    folder = roots.cache() / tool.NAME
    if not folder.with_suffix(".versions").exists():
        pytest.skip(
            f"the Debian root is not built on this machine: `make {target}` builds it, once, in some minutes"
        )
    if os.geteuid() != 0:
        pytest.skip(f"a Debian root needs root: `sudo make {target}`")
    return Path(tool.build())
