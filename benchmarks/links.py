"""Links that can be cut while a benchmark runs: a network namespace of its own, and the rules of nft in it.

Owns: `run_in_namespace`, `Link`. A program's packets are known by its group, and whatever connection they belong
to by its mark, so that both ways are cut. Any thread. Needs root, `unshare`, `ip` and `nft`.

The kernel itself loses the packets: a TCP connection waits longer from one attempt to the next, and comes back as
late as it would on a real cable. (`utdstream.testing.Faults` needs no root, and hands over what waited at once.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

CUTS = ("link", "udp", "signal half-open")
"""All of it; UDP alone; its TCP connections of now: what they carry is lost without a word, and new ones work."""
INSIDE = "UTD_LINKS_INSIDE"
FIRST_GROUP = 61_000
MARKS = 1000
"""So many connections' generations a link: those of before a half-open cut and after it are told apart."""
NETWORK = (
    "ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 10.9.0.1/24 dev v0"
    " && ip link set v0 up && ip link set v1 up && ip route add default via 10.9.0.2"
)
"""Media does not go over the loopback interface alone."""
NFT = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nft"


def run_in_namespace(module: str, arguments: Sequence[str]) -> None:
    """Begins this program anew in a network namespace of its own; returns there, with the rules made.

    Raises: SystemExit, with a sentence, without root.
    """
    if INSIDE in os.environ:
        _nft("add table inet links", "add chain inet links out { type filter hook output priority 0; }")
        return
    if os.geteuid() != 0:
        raise SystemExit(f"{module} makes a network namespace: run it as root")
    command = [sys.executable, "-m", module, *arguments]
    os.execvpe(
        "unshare",
        ["unshare", "-n", "sh", "-c", f'{NETWORK} && exec "$@"', "inside", *command],
        os.environ | {INSIDE: "1"},
    )


class Link:
    """The link of the programs that run in `group` (`subprocess.Popen(group=link.group, extra_groups=[])`)."""

    def __init__(self, number: int = 0) -> None:
        self.group = FIRST_GROUP + number
        self._mark = (number + 1) * MARKS
        self._chain = f"link{number}"
        _nft(
            f"add chain inet links {self._chain}",
            f"add chain inet links {self._chain}_mark",
            f"add rule inet links out jump {self._chain}_mark",
            f"add rule inet links out jump {self._chain}",
        )
        self._mark_new()

    def cut(self, kind: str = "link") -> None:
        """Cuts it in one of the ways of `CUTS`, until `mend`. Nobody is told."""
        first = self._mark // MARKS * MARKS
        last = first + MARKS - 1
        if kind == "signal half-open":
            last = self._mark
            self._mark_new()
        protocol = {"link": "", "udp": "meta l4proto udp", "signal half-open": "meta l4proto tcp"}[kind]
        _nft(f"add rule inet links {self._chain} {protocol} ct mark {first}-{last} drop")

    def mend(self) -> None:
        """Lets everything pass."""
        _nft(f"flush chain inet links {self._chain}")

    def _mark_new(self) -> None:
        """Marks the connections that begin from now on with a number of their own."""
        self._mark += 1
        _nft(
            f"flush chain inet links {self._chain}_mark",
            f"add rule inet links {self._chain}_mark meta skgid {self.group} ct mark 0 ct mark set {self._mark}",
        )


def _nft(*commands: str) -> None:
    for command in commands:
        subprocess.run([NFT, command], check=True, capture_output=True)
