"""The Pi camera's adapter on the real picamera2, when its root is built (`make test-picamera2`)."""

from __future__ import annotations

import subprocess
import sys

import debian_roots
import picamera2_root
import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_adapter_when_run_on_the_real_picamera2_passes_its_tests() -> None:
    """Everything in tests/pi_camera, inside the root."""
    debian_roots.needed(picamera2_root, "test-picamera2")
    done = subprocess.run(
        [sys.executable, str(debian_roots.TOOLS / "picamera2_root.py")],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
