"""Installs the wheel into clean virtual environments, one for each extra, and uses what is there.

`make test-wheel` (`--python PROGRAM` for another Python). Owns: what has to work with which extra. Nothing of
the checkout is on the path: what the wheel lacks is missing. With `engine` it makes a real call
(`utdstream demo`), and needs livekit-server and mosquitto, which `make setup` has provided.
An extra takes 10 to 20 seconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("utdstream", "device", "systemd", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
EVERY_MODULE = """
import importlib, pkgutil, utdstream
assert "site-packages" in utdstream.__file__, utdstream.__file__
for module in pkgutil.walk_packages(utdstream.__path__, "utdstream."):
    if not module.name.startswith(("utdstream.engine", "utdstream.settings", "utdstream.testing")):
        importlib.import_module(module.name)
"""
INDEX = "pip install utdstream"


class Broken(Exception):
    """Something does not work from the wheel."""


class Environment:
    """One clean virtual environment with the wheel and one extra, or none."""

    def __init__(self, folder: Path, python: str, wheel: Path, extra: str) -> None:
        self._bin = folder / "venv" / "bin"
        self._folder = folder
        folder.mkdir()
        run([python, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            str(self._bin / "python"),
        ]
        run([*pip, "install", "-q", f"{wheel}[{extra}]" if extra else str(wheel)], folder)
        run([*pip, "check"], folder)

    def runs(self, program: str, *arguments: str) -> str:
        """What a program of the environment says. Raises: Broken, when it fails."""
        return run([str(self._bin / program), *arguments], self._folder)

    def alone(self, program: str, *arguments: str, status: int = 1) -> str:
        """What it says on a machine without livekit-server. Raises: Broken, for another exit status."""
        environment = {"HOME": str(self._folder), "PATH": "/usr/bin:/bin"}
        return run([str(self._bin / program), *arguments], self._folder, environment, status=status)


def run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None, *, status: int = 0
) -> str:
    """What a program says on both streams. Raises: Broken, when it ends with another exit status."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answer = subprocess.run(
        command, cwd=folder, env=env if environment is None else environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
    )  # fmt: skip
    if answer.returncode != status:
        raise Broken(f"`{' '.join(command)}` ended with {answer.returncode}:\n{answer.stdout}")
    return answer.stdout


def build(folder: Path) -> Path:
    """The wheel, built from a copy: a `build` folder in the checkout would keep what has been deleted."""
    copy = folder / "source"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, copy / name)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(copy)], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def extras_of(wheel: Path) -> set[str]:
    """The extras that the wheel offers to users."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return set(metadata.get_all("Provides-Extra", [])) - {"dev"}


def says(said: str, *words: str) -> None:
    """Raises: Broken, unless the words are in it, and nothing that does not work from a wheel."""
    unhelpful = [bad for bad in ("Traceback", "make setup", INDEX) if bad in said]
    if unhelpful or not all(word in said for word in words):
        raise Broken(f"not {' and '.join(words)}, or {' and '.join(unhelpful)}, is said:\n{said}")


def check_plain(there: Environment) -> None:
    """The SDK alone: each of its modules; what is missing is said in words that help. Raises: Broken."""
    there.runs("python", "-c", EVERY_MODULE)
    says(there.runs("utdstream", "engine", "install", "--help"), "--from")
    says(there.alone("utdstream", "doctor", status=0), "pip install", "utdstream engine install")
    says(there.alone("utdstream", "engine", "up"), "pip install", "starlette")
    says(there.alone("utd-device", "doctor", status=2), "pip install", "msgspec")


def check_device(there: Environment) -> None:
    """A configuration is read, and the units are found where the wheel put them. Raises: Broken."""
    says(there.runs("utd-device", "config", "--example", "doorbell"), "[device]")
    for app in ("doorbell", "kiosk", "engine"):
        says(there.runs("utd-device", "install-service", "--app", app, "--dry-run"), f"utd-{app}.service")


def check_engine(there: Environment) -> None:
    """livekit-server is asked for when it is missing; with it, a call is made. Raises: Broken."""
    says(there.alone("utdstream", "engine", "up", "--data", "data"), "`utdstream engine install`")
    says(there.runs("utd-device", "install-service", "--app", "engine", "--dry-run"), "utd-engine.service")
    says(there.runs("utdstream", "demo", "--seconds", "3", "--json"))


def driver(line: str) -> Callable[[Environment], object]:
    """A check that a line of Python runs: it reaches a driver as the device does."""
    return lambda there: there.runs("python", "-c", line)


CHECKS: dict[str, Callable[[Environment], object]] = {
    "": check_plain,
    "mqtt": driver("from utdstream.mqtt import _load_paho as load; load()"),
    "video": driver(
        "from device.camera.encoder import import_av; import_av().CodecContext.create('libx264', 'w')"
    ),
    "audio": driver(
        "from device.audio.portaudio import import_pyaudio; import_pyaudio().get_portaudio_version()"
    ),
    "gpio": driver("import gpiozero; gpiozero.Button"),
    "device": check_device,
    "engine": check_engine,
}


def main() -> int:
    """The exit status: 0 when each extra works."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to make environments with")
    python = parser.parse_args().python
    try:
        with tempfile.TemporaryDirectory(prefix="utdstream-wheel-") as name:
            folder = Path(name)
            wheel = build(folder)
            print(f"built {wheel.name}", flush=True)
            if extras_of(wheel) != CHECKS.keys() - {""}:
                raise Broken(f"the wheel offers {sorted(extras_of(wheel))}, checked are {sorted(CHECKS)}")
            for extra, check in CHECKS.items():
                started, place = time.monotonic(), folder / (extra or "plain")
                check(Environment(place, python, wheel, extra))
                shutil.rmtree(place)
                print(f"{extra or 'no extra'}: works ({time.monotonic() - started:.0f} s)", flush=True)
    except Broken as error:
        print(f"test-wheel: {error}", file=sys.stderr)
        return 1
    print(f"{len(CHECKS)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
