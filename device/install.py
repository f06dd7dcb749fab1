"""`utd-device install-service`: the unit, the configuration, the key, and the start.

Owns: what is written where. Standard library only. Needs root, but with `--dry-run` or `--root`.

1. Nothing that is there is overwritten but the unit: a configuration is somebody's work.
2. The key comes from a file or from standard input, never from the command line, and lands in a file of root's
   that the service is given as a credential.
3. Every step is said before it is done; a second run changes nothing.
"""

from __future__ import annotations

import grp
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from device.errors import ConfigError
from device.examples import example

_PLACES = (
    Path(__file__).resolve().parents[1] / "systemd",
    Path(sys.prefix) / "share" / "utdstream" / "systemd",
)
UNITS = next((place for place in _PLACES if place.is_dir()), _PLACES[-1])
"""In the repository, or where the package put them."""
GROUPS = ("audio", "video", "gpio", "render")
APPS = ("doorbell", "kiosk", "engine")


class Installation:
    """One run of it. `root` other than `/` is an image that is being built: nothing is started."""

    def __init__(self, app: str, *, root: Path, dry_run: bool, key_file: Path | None) -> None:
        self._app = app
        self._root = root
        self._dry = dry_run
        self._key_file = key_file
        self.steps: list[str] = []

    def run(self) -> None:
        """Raises: ConfigError, OSError."""
        if os.geteuid() != 0 and not self._dry and self._root == Path("/"):
            raise ConfigError("installing a service needs root: `sudo utd-device install-service ...`")
        unit = f"utd-{self._app}.service"
        self._write(self._at(f"/etc/systemd/system/{unit}"), self._unit(), 0o644, replace=True)
        drop_in = self._groups()
        if drop_in:
            self._write(self._at(f"/etc/systemd/system/{unit}.d/groups.conf"), drop_in, 0o644, replace=True)
        if self._app != "engine":
            self._write(self._at(f"/etc/utdstream/{self._app}.toml"), example(self._app), 0o644)
            self._key()
        if self._root == Path("/"):
            self._do("systemctl", "daemon-reload")
            self._do("systemctl", "enable", "--now", unit)

    def remove(self) -> None:
        """Stops it and takes the unit away; configuration and key stay. Raises: OSError."""
        unit = f"utd-{self._app}.service"
        if self._root == Path("/"):
            self._do("systemctl", "disable", "--now", unit)
        for path in (
            self._at(f"/etc/systemd/system/{unit}"),
            self._at(f"/etc/systemd/system/{unit}.d/groups.conf"),
        ):
            if path.exists():
                self._say(f"remove {path}")
                if not self._dry:
                    path.unlink()
        if self._root == Path("/"):
            self._do("systemctl", "daemon-reload")

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _unit(self) -> str:
        """The unit with the program that runs now in the place of the example's."""
        text = (UNITS / f"utd-{self._app}.service").read_text(encoding="utf-8")
        return text.replace("/opt/utdstream/bin/", f"{Path(sys.executable).parent}/")

    def _groups(self) -> str:
        """A group that does not exist would keep the unit from starting: only those there are named."""
        if self._app == "engine":
            return ""
        there = [name for name in GROUPS if self._has_group(name)]
        return f"[Service]\nSupplementaryGroups=\nSupplementaryGroups={' '.join(there)}\n"

    def _has_group(self, name: str) -> bool:
        if self._root != Path("/"):
            groups = self._at("/etc/group")
            return groups.exists() and any(
                line.startswith(f"{name}:") for line in groups.read_text().splitlines()
            )
        try:
            grp.getgrnam(name)
        except KeyError:
            return False
        return True

    def _key(self) -> None:
        path = self._at("/etc/utdstream/app_key")
        if path.exists():
            self._say(f"keep {path}")
            return
        key = "" if self._dry else self._read_key()
        if not key and not self._dry:
            raise ConfigError(
                "there is no app key: give --app-key-file FILE, or pipe it in; the rest is installed"
            )
        self._write(path, f"{key}\n", 0o600)

    def _read_key(self) -> str:
        if self._key_file is not None:
            return self._key_file.read_text(encoding="utf-8").strip()
        if sys.stdin.isatty():
            print("App key (`utdstream engine up` shows it): ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip()

    def _write(self, path: Path, text: str, mode: int, *, replace: bool = False) -> None:
        if path.exists() and (not replace or path.read_text(encoding="utf-8") == text):
            self._say(f"keep {path}")
            return
        self._say(f"write {path} (mode {mode:04o})")
        if self._dry:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)

    def _do(self, *command: str) -> None:
        self._say(shlex.join(command))
        if self._dry:
            return
        if shutil.which(command[0]) is None:
            raise ConfigError(f"there is no {command[0]} here: this system is not run by systemd")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"`{shlex.join(command)}` failed: {done.stderr.strip() or done.returncode}")

    def _say(self, step: str) -> None:
        self.steps.append(step)
        print(step, flush=True)
