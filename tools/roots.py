"""Debian roots for the tests that need another system: built once with debootstrap, kept in the cache.

Owns: where a root is, how it is built, what is bound into it. Linux, root, debootstrap. A root that was broken
off is built again; the versions that were installed are written beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_MIRROR = "http://deb.debian.org/debian"


class NoRoot(Exception):
    """A root cannot be had here; the message says what to do."""


def cache() -> Path:
    """Where roots are kept: outside the repository, shared by all clones."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "utdstream"


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        with contextlib.suppress(OSError):
            found = re.search(r"https?://\S+/debian/?(?=\s|$)", path.read_text(encoding="utf-8"))
            if found:
                return found[0]
    return DEFAULT_MIRROR


def build(name: str, suite: str, packages: Sequence[str], finish: Sequence[Sequence[str]] = ()) -> Path:
    """The root of this name, built when it is not there. `finish`: commands run inside. Raises: NoRoot."""
    folder = cache() / name
    done = folder.with_suffix(".versions")
    if done.exists() and folder.is_dir():
        return folder
    if os.geteuid() != 0:
        raise NoRoot("building a Debian root needs root: run this with sudo")
    if shutil.which("debootstrap") is None:
        raise NoRoot("debootstrap is missing: `sudo apt install debootstrap systemd-container`")
    if str(folder) in Path("/proc/mounts").read_text(encoding="utf-8"):
        raise NoRoot(
            f"something is still mounted below {folder}: unmount it (`findmnt`), then run this again"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"building {folder} from Debian {suite} (some minutes, once)", flush=True)
    script = Path("/usr/share/debootstrap/scripts") / suite
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        suite,
        str(folder),
        mirror(),
    ]
    if not script.exists():
        command.append("/usr/share/debootstrap/scripts/sid")
    with (folder.parent / f"{name}.log").open("wb") as log:

        def run(step: Sequence[str]) -> None:
            status = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
            if status.returncode != 0:
                raise NoRoot(f"`{' '.join(step[:3])} ...` failed; {log.name} says why")

        run(command)
        trusted = Path("/etc/ssl/certs/ca-certificates.crt")
        if finish and trusted.exists():  # what this machine trusts, its root trusts: a proxy of your own, say
            shutil.copy(trusted, folder / trusted.relative_to("/"))
        with mounted(folder):
            for step in finish:
                run(["chroot", str(folder), *step])
    versions = subprocess.run(
        ["chroot", str(folder), "dpkg-query", "-W"], capture_output=True, text=True, check=True
    ).stdout
    done.write_text(versions, encoding="utf-8")
    return folder


@contextlib.contextmanager
def mounted(folder: Path, binds: Sequence[tuple[Path, str]] = ()) -> Iterator[None]:
    """/proc, /sys, /dev and `binds` (read-only) inside a root for a while."""
    made: list[Path] = []
    try:
        for source, inside in ((Path("/proc"), "proc"), (Path("/sys"), "sys"), (Path("/dev"), "dev"), *binds):
            target = folder / inside.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
            made.append(target)
            if (source, inside) in binds:
                subprocess.run(["mount", "-o", "remount,bind,ro", str(target)], check=True)
        yield
    finally:
        for target in reversed(made):
            subprocess.run(["umount", "-l", str(target)], check=False)
