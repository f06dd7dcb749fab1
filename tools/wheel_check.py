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
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("utdstream", "device", "systemd", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
EVERY_MODULE = """
import importlib, pkgutil, sys, utdstream, device
assert "site-packages" in utdstream.__file__, utdstream.__file__
for package in (utdstream, device):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("utdstream.engine.") or "stack" in module.name:
            importlib.import_module(module.name)
"""
# A line of Python for each extra: it reaches the driver as the device does.
USES = {
    "mqtt": "from device.home_assistant import _load_paho as load; load(); import paho.mqtt.client",
    "video": "from device.camera.encoder import import_av; import_av().CodecContext.create('libx264', 'w')",
    "audio": "from device.audio.cards import import_pyaudio; import_pyaudio().get_portaudio_version()",
    "gpio": "from device.trigger.gpio import import_gpiozero; import_gpiozero().Button",
    "device": "from device.config import load_config",
    "engine": "import utdstream.engine.app",
}
INDEX = "pip install utdstream"


class Broken(Exception):
    """Something does not work from the wheel."""


class Environment:
    """One clean virtual environment with the wheel and some extras."""

    def __init__(self, folder: Path, python: str, wheel: Path, extras: str) -> None:
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
        run([*pip, "install", "-q", f"{wheel}[{extras}]" if extras else str(wheel)], folder)
        run([*pip, "check"], folder)

    def runs(self, program: str, *arguments: str) -> str:
        """What a program of the environment says. Raises: Broken, when it fails."""
        return run([str(self._bin / program), *arguments], self._folder)

    def refuses(self, program: str, *arguments: str) -> str:
        """What it says when it must fail, on a machine without livekit-server. Raises: Broken."""
        environment = {"HOME": str(self._folder), "PATH": "/usr/bin:/bin"}
        said = run([str(self._bin / program), *arguments], self._folder, environment, status=1)
        if "Traceback" in said:
            raise Broken(f"`{program} {' '.join(arguments)}` says a traceback:\n{said}")
        return said


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


def check_plain(plain: Environment) -> None:
    """No extra: everything can be imported, and what is missing is said in words that help. Raises: Broken."""
    plain.runs("python", "-c", EVERY_MODULE)
    plain.runs("utdstream", "engine", "install", "--help")
    plain.runs("utdstream", "doctor")
    for app in ("doorbell", "kiosk", "engine"):
        said = plain.runs("utd-device", "install-service", "--app", app, "--dry-run")
        if f"utd-{app}.service" not in said:
            raise Broken(f"install-service --app {app} writes no unit:\n{said}")
    said = plain.refuses("utdstream", "engine", "up", "--data", "data")
    if "utdstream engine install" not in said or "make setup" in said or INDEX in said:
        raise Broken(f"`engine up` does not say how to get livekit-server here:\n{said}")
    said = run([str(plain._bin / "utdstream"), "engine", "up", "--data", "data"], plain._folder, status=1)
    if "starlette" not in said or "Traceback" in said or INDEX in said:
        raise Broken(f"`engine up` does not say that its packages are missing:\n{said}")


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
            if extras_of(wheel) != set(USES):
                raise Broken(f"{__file__} knows {sorted(USES)}, the wheel offers {sorted(extras_of(wheel))}")
            for extra in ("", *USES):
                started = time.monotonic()
                environment = Environment(folder / (extra or "plain"), python, wheel, extra)
                if not extra:
                    check_plain(environment)
                else:
                    environment.runs("python", "-c", USES[extra])
                if extra == "engine":
                    environment.runs("utdstream", "demo", "--seconds", "3", "--json")
                shutil.rmtree(folder / (extra or "plain"))
                print(f"{extra or 'no extra'}: works ({time.monotonic() - started:.0f} s)", flush=True)
    except Broken as error:
        print(f"test-wheel: {error}", file=sys.stderr)
        return 1
    print(f"{len(USES) + 1} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
