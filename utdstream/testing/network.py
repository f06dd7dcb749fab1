"""`Network`: a network of their own for programs under test, behind a cable (veth) that can be pulled.

Owns: a network namespace, kept by a child that ends with this process, and the pair of interfaces into it. Needs
root and iproute2. Any thread. Imports the standard library and errors.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from utdstream.errors import UsageError

_TOOLS = ("ip", "unshare", "nsenter")
_WITHIN_S = 10.0


class Network:
    """The namespace and its cable. Programs are started in it with `popen`; they reach `address` and nothing else.

    Raises: UsageError, with a sentence that says what is missing, where the machine does not allow it.
    """

    def __init__(self) -> None:
        reason = why_not()
        if reason is not None:
            raise UsageError(reason)
        number = random.randrange(1, 60_000)
        self._subnet = f"10.{200 + number // 250 % 50}.{number % 250}"
        self._here, there = f"utda{number}", f"utdb{number}"
        self._there, self._host_number = there, 2
        self.address = f"{self._subnet}.1"
        """Where the outside is reached: this end of the cable."""
        self._keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert self._keeper.stdout is not None
            if self._keeper.stdout.readline() != b"ready\n":
                raise UsageError(f"a network namespace is refused here: {_end_of(self._keeper)}")
            self._ip("link", "add", self._here, "type", "veth", "peer", "name", there)
            self._ip("link", "set", there, "netns", str(self._keeper.pid))
            self._ip("addr", "add", f"{self.address}/24", "dev", self._here)
            self._ip("link", "set", self._here, "up")
            self._inside("link", "set", "lo", "up")
            self._inside("link", "set", there, "up")
            self._take_address()
        except BaseException:
            self.close()
            raise

    def popen(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in the namespace, with pipes for its input and output. The caller ends it."""
        return subprocess.Popen(
            ["nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(env) if env is not None else None,
        )

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Pulls the cable for as long as the block: nothing passes, UDP or TCP.

        Blocks: milliseconds. Raises: UsageError when the kernel refuses.
        """
        self._ip("link", "set", self._here, "down")
        try:
            yield
        finally:
            self._ip("link", "set", self._here, "up")

    @contextmanager
    def without_route(self) -> Iterator[None]:
        """Takes away every route out of the namespace, as a router does that stops announcing itself.

        Blocks: milliseconds. Raises: UsageError when the kernel refuses.
        """
        self._inside("route", "flush", "dev", self._there)
        try:
            yield
        finally:
            self._inside("route", "add", f"{self._subnet}.0/24", "dev", self._there)
            self._inside("route", "add", "default", "via", self.address)

    def change_address(self) -> str:
        """Gives the namespace another address, as roaming does, in place of the old one. Returns it."""
        self._inside("addr", "flush", "dev", self._there)
        self._host_number = 2 + (self._host_number - 1) % 250
        return self._take_address()

    def close(self) -> None:
        """Ends the namespace; the cable goes with it. Idempotent. Programs in it are the caller's to end."""
        if self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(_WITHIN_S)
        for pipe in (self._keeper.stdout, self._keeper.stderr):
            if pipe is not None:
                pipe.close()
        subprocess.run(["ip", "link", "del", self._here], capture_output=True, check=False)

    def _take_address(self) -> str:
        own = f"{self._subnet}.{self._host_number}"
        self._inside("addr", "add", f"{own}/24", "dev", self._there)
        self._inside("route", "replace", "default", "via", self.address)
        return own

    def _inside(self, *words: str) -> None:
        _run("nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", "--", "ip", *words)

    def _ip(self, *words: str) -> None:
        _run("ip", *words)


def why_not() -> str | None:
    """Returns why this machine gives no network of one's own, as a sentence; None when it does."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        names = " and ".join(missing)
        return f"a network of their own for programs needs {names}: apt install iproute2 util-linux"
    if os.geteuid() != 0:
        return (
            "a network of their own for programs needs root; run as root, or use cut(), which needs nothing"
        )
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=_WITHIN_S)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"{' '.join(command[-4:])} is refused on this machine: {said}")


def _end_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.read().decode(errors="replace").strip() or "no reason was given"
