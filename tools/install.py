"""Set-up, second step: the system's packages, `.venv` with the Python packages, livekit-server.

Owns: which packages the system must have, and what goes into `.venv`. Standard library only: nothing is installed
yet. How livekit-server is found and installed is the engine's own (`utdstream/engine/stack`, loaded by its path).

1. Every step looks first, so a second run does nothing, and a run that was broken off goes on.
2. The system's packages of all steps are one apt command, so a person types one line at most.
3. A step that cannot be done says what to do, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
STAMP = "utdstream-setup.json"
PORTAUDIO_HEADER = Path("/usr/include/portaudio.h")
APT_LISTS = Path("/var/lib/apt/lists")
# Wheels that are made up to this Python only (setup.cfg asks for them there only), and where else it comes from.
WHEELS_UP_TO = {
    "lgpio": (
        (3, 12),
        "buttons and relays on a Pi's pins get it from `sudo apt install python3-lgpio` and a virtual "
        "environment made with --system-site-packages",
    ),
}


def load_stack() -> ModuleType:
    """`utdstream.engine.stack.install`; below an empty `utdstream`, whose own imports are not installed yet."""
    if "utdstream" not in sys.modules:
        sys.modules["utdstream"] = package = ModuleType("utdstream")
        package.__path__ = [str(ROOT / "utdstream")]
    return importlib.import_module("utdstream.engine.stack.install")


stack = load_stack()
InstallFailed = stack.InstallFailed
say = stack.say
run = stack.run


def main(arguments: Sequence[str] = ()) -> int:
    """Do all steps; the exit status."""
    parser = argparse.ArgumentParser(prog="make setup", description="Sets everything up that is missing.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the virtual environment")
    parser.add_argument("--packages-only", action="store_true", help="the Python packages alone")
    chosen = parser.parse_args(arguments)
    venv: Path = chosen.venv
    started = time.monotonic()
    steps = (
        ("system packages", install_system_packages),
        ("Python packages", lambda: install_python_packages(venv)),
        ("livekit-server", lambda: str(stack.describe(stack.livekit_server()))),
    )
    if chosen.packages_only:
        steps = steps[1:2]
    undone: list[str] = []
    for number, (name, step) in enumerate(steps, 1):
        try:
            found = step()
        except InstallFailed as error:
            undone.append(f"{name}: {error}")
            say(f"[{number}/{len(steps)}] {name}: not done")
        except KeyboardInterrupt:
            print("setup: broken off; the next run goes on from here", file=sys.stderr)
            return 130
        else:
            say(f"[{number}/{len(steps)}] {name}: {found}")
    for sentence in reversed(undone):  # what is to be typed stands last
        print(f"setup: {sentence}", file=sys.stderr)
    if not undone:
        say(f"ready ({time.monotonic() - started:.1f} s)")
    return 1 if undone else 0


def without_wheels(version: tuple[int, ...]) -> Iterator[str]:
    """What is left out on this Python, and where it comes from instead."""
    for name, (last, elsewhere) in WHEELS_UP_TO.items():
        if version > last:
            yield (
                f"{name} is left out: it has no wheel for Python {'.'.join(map(str, version))}; {elsewhere}"
            )


# --- the system's packages


def missing_packages() -> list[str]:
    """Debian's names of what this machine lacks, for all steps at once."""
    python = "python{}.{}".format(*sys.version_info[:2])
    missing = []
    if not has_venv():
        missing.append(f"{python}-venv")
    # PyAudio has no wheel for Linux: it is compiled against Python's header and PortAudio's.
    if not python_header().exists():
        missing.append(f"{python}-dev")
    if shutil.which("gcc") is None or not Path("/usr/include/stdlib.h").exists():
        missing += ["gcc", "libc6-dev"]
    if not PORTAUDIO_HEADER.exists():
        missing.append("portaudio19-dev")
    # PulseAudio, and ALSA's way to it, are the sound card of the tests.
    if shutil.which("pulseaudio") is None or shutil.which("parec") is None:
        missing += ["libasound2-plugins", "pulseaudio", "pulseaudio-utils"]
    try:
        stack.binaries.find_mosquitto()
        stack.binaries.find_dynsec_plugin()
    except stack.binaries.ProgramMissing:
        missing.append("mosquitto")
    try:
        stack.binaries.find_haproxy()
    except stack.binaries.ProgramMissing:
        missing.append("haproxy")
    return missing


def has_venv() -> bool:
    """Whether this Python can make virtual environments; Debian keeps that in a package of its own."""
    return all(importlib.util.find_spec(module) is not None for module in ("venv", "ensurepip"))


def python_header() -> Path:
    """The header of this Python, without which no extension is compiled."""
    return Path(sysconfig.get_path("include")) / "Python.h"


def install_system_packages() -> str:
    """Everything from the system's packages. Raises: InstallFailed, with the one command to type."""
    packages = missing_packages()
    if not packages:
        return "there already"
    if shutil.which("apt-get") is None:
        raise InstallFailed(
            f"this system has no apt; install what Debian calls {', '.join(packages)}, and run this again"
        )
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise InstallFailed(
            "this user may not install them and there is no sudo; an administrator must run this as root, then "
            f"run `make setup` again:\n\n  {as_command(packages)}\n"
        )
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if prefix and not succeeds([*prefix, "true"]):
        raise InstallFailed(
            "sudo asks for a password here; type this, then run `make setup` again:\n\n"
            f"  sudo {as_command(packages)}\n"
        )
    say(f"installing {', '.join(packages)} with apt")
    # On env's command line, because sudo hands no environment on.
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    install = [*apt, "install", "-y", "-q", "--no-install-recommends", *packages]
    if not has_lists() or not succeeds(install):
        succeeds([*apt, "update", "-q"])
        run(install, f"apt did not finish; install {', '.join(packages)} and run this again")
    still = missing_packages()
    if still:
        raise InstallFailed(f"apt installed {', '.join(still)} and it still cannot be found")
    return f"installed {', '.join(packages)} with apt"


def as_command(packages: Sequence[str]) -> str:
    """The one line that installs them, for root or behind `sudo`."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    return command if has_lists() else f"sh -c {shlex.quote(f'apt-get update && {command}')}"


def has_lists() -> bool:
    """Whether apt knows any package; a new container's does not."""
    return any(APT_LISTS.glob("*_Packages*"))


# --- Python packages


def install_python_packages(venv: Path) -> str:
    """A virtual environment with this package and everything its tests need. Raises: InstallFailed.

    Without the system packages that PyAudio is compiled with, all but PyAudio; the next run adds it.
    """
    if not has_venv():
        raise InstallFailed("they wait for the system packages above: this Python has no venv module yet")
    extras = ["dev"]
    sound = python_header().exists() and PORTAUDIO_HEADER.exists() and shutil.which("gcc")
    if sound:
        extras.append("audio")
    key = stamp_key(extras)
    python = venv / "bin" / "python"
    if stamped_key(venv) == key and python.exists():
        return f"in {venv.name} already"
    if not works(python):
        say(f"making {venv.name} with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(venv)], "the virtual environment could not be made")
    say("installing the Python packages (about 150 MB the first time)")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "-q"]
    run(
        [*pip, "-e", f"{ROOT}[{','.join(extras)}]"],
        "pip did not finish; check the network and run this again: what was fetched is kept",
    )
    for sentence in without_wheels(sys.version_info[:2]):
        say(f"  {sentence}")
    stack.write_whole(venv / STAMP, json.dumps({"key": key}), mode=0o644)
    return f"installed in {venv.name}" + (
        "" if sound else ", PyAudio not yet: it is compiled with system packages"
    )


def stamp_key(extras: Sequence[str]) -> str:
    """Changes with the requirements, the interpreter and the place of the repository."""
    digest = hashlib.sha256()
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    digest.update(f"{sys.version} {platform.machine()} {ROOT} {','.join(extras)}".encode())
    return digest.hexdigest()


def stamped_key(venv: Path) -> str | None:
    """What the last finished installation was for."""
    try:
        return str(json.loads((venv / STAMP).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def works(python: Path) -> bool:
    """Whether the environment is whole and of this Python version."""
    if not python.exists():
        return False
    script = "import pip, sys; print(tuple(sys.version_info[:2]))"
    answer = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == str(tuple(sys.version_info[:2]))


def succeeds(command: Sequence[str]) -> bool:
    """Whether a program ends with exit status 0; its output is not shown."""
    quiet = subprocess.DEVNULL
    answer = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    return answer.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
