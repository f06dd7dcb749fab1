"""Asks Home Assistant's own schemas about our discovery message, in a cached Debian root.

`make test-home-assistant`. Owns: what that root holds. Home Assistant wants a newer Python than our floor, so
it lives there. Needs root; the first run takes a few minutes and about 1 GB. `--build` only builds the root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roots

NAME = "home-assistant-root"
PACKAGES = ("python3", "python3-venv", "python3-pip", "python3-dev", "ca-certificates", "build-essential")
PYTHON_PACKAGES = ("homeassistant", "paho-mqtt", "numpy", "PyTurboJPEG")
"""Home Assistant, and what its MQTT integration imports."""


def build() -> Path:
    """The root, ready. Raises: roots.NoRoot."""
    install = ("/venv/bin/pip", "install", "-q", "--progress-bar", "off", *PYTHON_PACKAGES)
    return roots.build(NAME, "forky", PACKAGES, (("python3", "-m", "venv", "/venv"), install))


def check(made: Path, script: Path, message: str) -> subprocess.CompletedProcess[str]:
    """What Home Assistant says of a discovery message (JSON)."""
    inside = made / "tmp" / script.name
    inside.write_bytes(script.read_bytes())
    command = ["chroot", str(made), "/venv/bin/python", f"/tmp/{script.name}"]
    return subprocess.run(command, input=message, capture_output=True, text=True, check=False)


def main() -> int:
    """The exit status of the test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build the root and run nothing")
    chosen = parser.parse_args()
    try:
        build()
    except roots.NoRoot as error:
        print(f"test-home-assistant: {error}", file=sys.stderr)
        return 1
    if chosen.build:
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-rsP", "tests/device/test_home_assistant_root.py"]
    return subprocess.run(command, cwd=roots.ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
