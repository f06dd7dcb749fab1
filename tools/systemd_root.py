"""Runs the tests of units and installation on a real systemd, booted in a cached Debian root.

`make test-systemd`. Owns: what that root holds. The repository and the installed packages are bound into it
read-only, and what the tests write goes to memory: the root stays as it was built. `--build` only builds it.
Needs root, systemd-nspawn and debootstrap; the first run takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roots

NAME = "systemd-root"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps", "libstdc++6", "mosquitto", "haproxy")
COMMANDS = {"utd-device": "device.__main__", "utdstream": "utdstream.cli"}


def build() -> Path:
    """The root, ready. Raises: roots.NoRoot."""
    made = roots.build(NAME, "bookworm", PACKAGES)
    programs = made / "opt/utdstream/bin"
    programs.mkdir(parents=True, exist_ok=True)
    (made / "opt/site").mkdir(exist_ok=True)
    (made / "repository").mkdir(exist_ok=True)
    python = programs / "python"
    if not python.is_symlink():
        python.symlink_to("/usr/bin/python3")
    for name, module in COMMANDS.items():
        command = programs / name
        command.write_text(
            f"#!/opt/utdstream/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        command.chmod(0o755)
    for service in ("mosquitto", "haproxy"):
        masked = made / f"etc/systemd/system/{service}.service"
        if not masked.is_symlink():  # Debian starts it at boot, and this root shares the machine's ports
            masked.symlink_to("/dev/null")
    return made


def main() -> int:
    """The exit status of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build the root and run nothing")
    chosen = parser.parse_args()
    try:
        build()
    except roots.NoRoot as error:
        print(f"test-systemd: {error}", file=sys.stderr)
        return 1
    if chosen.build:
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/device/test_systemd_root.py"]
    command.append("tests/device/test_trigger_systemd_root.py")
    return subprocess.run(command, cwd=roots.ROOT, env={**os.environ}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
