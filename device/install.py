"""`utd-device install-service`: the unit, the configuration, the key, and the start.

Owns: what is written where. Standard library only. Needs root, but with `--dry-run` or `--root`.

1. Nothing that is there is overwritten but the unit and `local.conf` beside it (what is particular to this
   machine): a configuration is the owner's work.
2. The key comes from a file or from standard input, never from the command line, and lands in a file of root's
   that the service is given as a credential.
3. Every step is said before it is done; a second run changes nothing.
4. A program below /home or /root would be invisible to a hardened unit: its folders, and no others, are shown to
   it read-only.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from device.as_root import as_root
from device.errors import ConfigError
from device.examples import example
from utdstream.whole_files import write_whole

_PLACES = (
    Path(__file__).resolve().parents[1] / "systemd",
    Path(sys.prefix) / "share" / "utdstream" / "systemd",
)
UNITS = next((place for place in _PLACES if place.is_dir()), _PLACES[-1])
"""In the repository, or where the package put them."""
GROUPS = ("audio", "video", "gpio", "render")
APPS = ("doorbell", "kiosk", "engine")
DOOR_PIN = "/etc/utdstream/door_pin"
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What `ProtectHome=` hides."""
_MEDIA_SERVER = "livekit-server"
_PLAIN_PATH = re.compile(r"[\w/.+@~-]+")


class Installation:
    """One run of it. `root` other than `/` is an image that is being built: nothing is started."""

    def __init__(self, app: str, *, root: Path, dry_run: bool, key_file: Path | None) -> None:
        self._app = app
        self._root = root
        self._dry = dry_run
        self._key_file = key_file
        self._changed = False
        self.steps: list[str] = []

    def run(self) -> None:
        """Raises: ConfigError, OSError."""
        if os.geteuid() != 0 and not self._dry and self._root == Path("/"):
            raise ConfigError(f"installing a service needs root: `{as_root('install-service ...')}`")
        unit = f"utd-{self._app}.service"
        unit_text, local = self._unit(), self._local()  # what raises is raised before anything is written
        self._write(self._at(f"/etc/systemd/system/{unit}"), unit_text, 0o644, replace=True)
        self._write(self._at(f"/etc/systemd/system/{unit}.d/local.conf"), local, 0o644, replace=True)
        if self._app != "engine":
            self._configuration()
            self._key()
        if self._root == Path("/"):
            self._do("systemctl", "daemon-reload")
            self._do("systemctl", "enable", unit)
            self._do("systemctl", "restart" if self._changed else "start", unit)

    def remove(self) -> None:
        """Stops it and takes the unit away; configuration and key stay. Raises: OSError."""
        unit = f"utd-{self._app}.service"
        if self._root == Path("/"):
            self._do("systemctl", "disable", "--now", unit)
        for path in (
            self._at(f"/etc/systemd/system/{unit}"),
            self._at(f"/etc/systemd/system/{unit}.d/local.conf"),
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
        """Writes the unit with the program that runs now in the place of the example's."""
        programs = Path(sys.executable).parent
        if not _PLAIN_PATH.fullmatch(str(programs)):
            raise ConfigError(
                f"a unit cannot name {programs}: install the package in a folder without spaces and signs"
            )
        text = (UNITS / f"utd-{self._app}.service").read_text(encoding="utf-8")
        return text.replace("/opt/utdstream/bin/", f"{programs}/")

    def _local(self) -> str:
        """Writes what is particular to this machine: its groups, a program in a home, the media server's place."""
        lines = ["[Service]"]
        shown = _program_folders()
        if self._app == "engine":
            server = self._media_server()
            if server is not None:
                lines.append(f"Environment=UTD_LIVEKIT_SERVER={server}")
                shown.append(server)
        else:
            # A group that does not exist would keep the unit from starting: only those there are named.
            there = [name for name in GROUPS if self._has_group(name)]
            lines += ["SupplementaryGroups=", f"SupplementaryGroups={' '.join(there)}"]
            # Likewise a credential whose file does not exist.
            if self._app == "doorbell" and self._at(DOOR_PIN).exists():
                lines.append(f"LoadCredential=door_pin:{DOOR_PIN}")
        hidden = _outermost([path for path in shown if any(path.is_relative_to(home) for home in HOMES)])
        if hidden:
            lines += ["ProtectHome=tmpfs", f"BindReadOnlyPaths={' '.join(map(str, hidden))}"]
        return "\n".join(lines) + "\n"

    def _media_server(self) -> Path | None:
        """Finds livekit-server where the service would not find it by itself. Raises: ConfigError."""
        if self._root != Path("/"):
            return None  # the image has its own, in /usr/local/bin
        named = os.environ.get("UTD_LIVEKIT_SERVER") or shutil.which(_MEDIA_SERVER)
        if named is not None:
            return Path(named).absolute()
        for home in _homes():
            cached = sorted((home / ".cache/utdstream").glob(f"{_MEDIA_SERVER}-*"))
            if cached:
                return cached[-1]
        if self._dry:
            return None
        raise ConfigError(
            "livekit-server was not found on PATH or in a home's cache: put it into /usr/local/bin, or name it in "
            "UTD_LIVEKIT_SERVER"
        )

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

    def _configuration(self) -> None:
        path = self._at(f"/etc/utdstream/{self._app}.toml")
        new = not path.exists()
        self._write(path, example(self._app), 0o600)  # a camera's address in it may hold a password
        if new:
            self._say(
                f"(it is an example: set what is yours in it, then `systemctl restart utd-{self._app}`)"
            )

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
        is_there = path.exists() and path.stat().st_size > 0  # an empty one is what a power cut left
        if is_there and (not replace or path.read_text(encoding="utf-8") == text):
            self._say(f"keep {path}")
            return
        self._say(f"write {path} (mode {mode:04o})")
        self._changed = True
        if self._dry:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(path, text, mode=mode)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror}); make room there, and run this again"
            ) from error

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


def _program_folders() -> list[Path]:
    """Lists the folders that this program is loaded from: environment, interpreter, package."""
    package = Path(__file__).resolve().parents[1]
    return [Path(sys.prefix), Path(sys.base_prefix).resolve(), package]


def _outermost(paths: list[Path]) -> list[Path]:
    """Leaves out those that lie below another one; sorted."""
    unique = sorted(set(paths))
    return [
        path for path in unique if not any(path != other and path.is_relative_to(other) for other in unique)
    ]


def _homes() -> list[Path]:
    """Lists root's home, and that of the user who called sudo."""
    homes = [Path.home()]
    caller = os.environ.get("SUDO_USER")
    if caller:
        with contextlib.suppress(KeyError):
            homes.append(Path(pwd.getpwnam(caller).pw_dir))
    return homes
