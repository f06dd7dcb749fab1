"""Does what the README says as a newcomer: a clean clone on a new Debian, a user whose sudo asks for a password.

`make test-clean-clone` (SUITE=trixie for Python 3.13, forky for 3.14). Owns: that root, its user, the transcript
on stdout. Each run starts from the root as debootstrap left it; what the run writes is thrown away. Needs root,
debootstrap and overlayfs. A livekit-server that this machine has in its cache is put into the newcomer's, as if
it had been fetched earlier; without one the newcomer fetches it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import install
import roots

PACKAGES = ("ca-certificates", "git", "make", "procps", "python3", "sudo")
USER, PASSWORD = "newcomer", "correct horse"


class Surprise(Exception):
    """The transcript took another way than the README says."""


@contextlib.contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """The root, with everything that is written kept beside it and thrown away at the end."""
    with tempfile.TemporaryDirectory(
        dir=root.parent, prefix=f"{root.name}-", ignore_cleanup_errors=True
    ) as kept:
        folders = {name: Path(kept) / name for name in ("upper", "work", "merged")}
        for folder in folders.values():
            folder.mkdir(mode=0o755)
        layers = f"lowerdir={root},upperdir={folders['upper']},workdir={folders['work']}"
        merged = folders["merged"]
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(merged)], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", "-l", str(merged)], check=False)


class Newcomer:
    """One user in one root, typing."""

    def __init__(self, root: Path, *, has_sudo: bool) -> None:
        self._root = root
        self.has_sudo = has_sudo
        if not has_sudo:
            self._inside("env", "SUDO_FORCE_REMOVE=yes", "dpkg", "--purge", "sudo")
        self._inside("useradd", "--create-home", "--shell", "/bin/bash", USER)
        if has_sudo:
            self._inside("usermod", "--append", "--groups", "sudo", USER)
        self._inside("sh", "-c", f"echo '{USER}:{PASSWORD}' | chpasswd")
        # As in every container: a package that is installed starts no service.
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    def install(self, command: str) -> None:
        """What the set-up asked for: typed by the newcomer at the prompt of sudo, or by an administrator."""
        if self.has_sudo:  # -S takes the password from here instead of the terminal
            at_the_prompt = command.replace("sudo", "sudo -S -p ''", 1)
            self.must(f"echo '{PASSWORD}' | {at_the_prompt} 2>&1 | tail -n 2")
            return
        print(f"\nroot# {command}", flush=True)
        self._inside("sh", "-c", f"{command} 2>&1 | tail -n 2")

    def own(self, path: str) -> None:
        """Gives what lies in the newcomer's home to the newcomer."""
        self._inside("chown", "-R", f"{USER}:{USER}", path)

    def types(self, line: str) -> tuple[int, str]:
        """Shows the line and what it says; the exit status and the output."""
        print(f"\n{USER}$ {line}", flush=True)
        started = time.monotonic()
        command = self._command("su", "--login", USER, "--command", f"cd ~/utdstream 2>/dev/null; {line}")
        said = []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for text in process.stdout:
                print(text, end="", flush=True)
                said.append(text)
        print(f"(exit status {process.returncode}, {time.monotonic() - started:.0f} s)", flush=True)
        return process.returncode, "".join(said)

    def must(self, line: str) -> None:
        """As `types`. Raises: Surprise, when it fails."""
        status, _ = self.types(line)
        if status != 0:
            raise Surprise(f"`{line}` ended with {status}")

    def _inside(self, *command: str) -> None:
        subprocess.run(self._command(*command), stdin=subprocess.DEVNULL, check=True)

    def _command(self, *command: str) -> list[str]:
        """In namespaces of its own: what a command leaves running ends with it."""
        space = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        mounts = (
            'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; mount --bind /sys "$0/sys"; '
            'mount -t tmpfs tmpfs "$0/dev/shm"; exec chroot "$0" "$@"'
        )
        return [*space, "sh", "-c", mounts, str(self._root), *command]


def follow(newcomer: Newcomer, commands: list[str]) -> None:
    """The README's commands, and the one that the set-up asks to type. Raises: Surprise."""
    newcomer.must(". /etc/os-release; echo $PRETTY_NAME; python3 --version")
    newcomer.must("git -c advice.detachedHead=false clone -q /srv/utdstream.bundle utdstream")
    status, said = newcomer.types("make setup")
    asked = re.findall(r"^  (.*apt-get .+)$", said, re.MULTILINE)
    if status == 0 or len(asked) != 1 or asked[0].startswith("sudo") != newcomer.has_sudo:
        raise Surprise(f"`make setup` ended with {status} and asked for {len(asked)} commands")
    newcomer.install(asked[0])
    failed = [command for command in commands if newcomer.types(command)[0] != 0]
    if failed:
        raise Surprise(f"these failed: {', '.join(failed)}")


def main() -> int:
    """The exit status: 0 when each command did what the README says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="trixie", help="Debian's release (default trixie)")
    parser.add_argument("--no-sudo", action="store_true", help="an administrator installs the packages")
    parser.add_argument("commands", nargs="*", default=["make demo", "make test"], help="what is typed then")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted is unmounted
    try:
        root = roots.build(f"clean-{chosen.suite}", chosen.suite, PACKAGES, finish=[["true"]])
        with copy_of(root) as copy:
            bundle = copy / "srv/utdstream.bundle"
            subprocess.run(["git", "bundle", "create", "-q", str(bundle), "HEAD"], cwd=roots.ROOT, check=True)
            newcomer = Newcomer(copy, has_sudo=not chosen.no_sudo)
            kept = install.stack.binaries.cached_livekit_server()
            if kept.exists():
                print(f"(the newcomer's cache holds {kept.name}, fetched earlier)")
                cache = copy / f"home/{USER}/.cache/utdstream"
                cache.mkdir(parents=True)
                shutil.copy2(kept, cache)
                newcomer.own(f"/home/{USER}/.cache")
            follow(newcomer, chosen.commands)
    except (roots.NoRoot, Surprise) as error:
        print(f"test-clean-clone: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
