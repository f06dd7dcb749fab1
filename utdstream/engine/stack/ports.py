"""The ports of a stack, and free ones held until the program that needs them starts.

Owns: which part uses which port; choosing and reserving TCP and UDP ports. Any thread. Imports the standard
library and errors, because the doctor asks here where the engine's packages are not installed.

1. A port is chosen below the kernel's ephemeral range: a client that retries against a stopped server
   must never be given that server's port as its own source port (it would then talk to itself).
2. A reservation is a bound socket without SO_REUSEADDR, so two stacks that start at once never agree on
   one port. It is given up just before the program binds.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import Literal

from utdstream.errors import UTDStreamException

Part = Literal["livekit", "engine", "mqtt", "proxy"]
PARTS: tuple[Part, ...] = ("livekit", "mqtt", "engine")
"""Those of every stack; with TLS the proxy comes to them."""
LOOPBACK = "127.0.0.1"

DEFAULT_PORTS = {
    "engine": 8080,
    "livekit": 7880,
    "livekit_udp": 7882,
    "livekit_tcp": 7881,
    "stun": 3478,
    "mqtt": 1883,
    "mqtt_engine": 1884,
    "https": 8443,
    "mqtts": 8883,
}
PORT_KINDS: dict[str, tuple[Part, str]] = {
    "engine": ("engine", "tcp"),
    "livekit": ("livekit", "tcp"),
    "livekit_udp": ("livekit", "udp"),
    "livekit_tcp": ("livekit", "tcp"),
    "stun": ("livekit", "udp"),
    "mqtt": ("mqtt", "tcp"),
    "mqtt_engine": ("mqtt", "tcp"),
    "https": ("proxy", "tcp"),
    "mqtts": ("proxy", "tcp"),
}
"""Which part uses a port, and whether it is tcp or udp."""

_LOWEST, _FALLBACK_HIGHEST = 10_000, 30_000
_ATTEMPTS = 200


class PortTaken(UTDStreamException):
    """A port that was asked for is in use by another program."""


class Reservation:
    """One port of `kind` tcp or udp that no other program can bind until `release`."""

    def __init__(self, kind: str, host: str, port: int, *, reuse: bool = False) -> None:
        self.kind = kind
        self.host = host
        self._socket: socket.socket | None = _bound(kind, host, port, reuse)
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Gives the port up. Idempotent."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def reserve(kind: str, host: str, wanted: int | None = None) -> Reservation:
    """A held port: `wanted`, or a free one. Raises: PortTaken when `wanted` is in use."""
    if wanted is not None:
        try:
            # A server that stopped a moment ago leaves connections in TIME_WAIT: not a reason to refuse.
            return Reservation(kind, host, wanted, reuse=True)
        except OSError as error:
            raise PortTaken(
                f"{kind} port {wanted} on {host} cannot be used ({error.strerror}); "
                "stop the program that has it, or configure another port"
            ) from error
    low, high = _range()
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(OSError):
            return Reservation(kind, host, low + secrets.randbelow(high - low))
    return Reservation(kind, host, 0)


def is_free(kind: str, host: str, port: int) -> bool:
    """Whether a program could bind this port now."""
    try:
        Reservation(kind, host, port, reuse=True).release()
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    """Whether this machine can listen on IPv6 at all."""
    return is_free("tcp", "::1", 0)


def lan_address() -> str | None:
    """This machine's IPv4 address on its network, or None. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # a datagram socket only looks up the route
        address = str(probe.getsockname()[0])
        if not address.startswith("127."):
            return address
    return _first_interface_address()  # a network without a router has no default route


def _first_interface_address() -> str | None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                request = name.encode()[:15].ljust(256, b"\0")
                address = socket.inet_ntoa(fcntl.ioctl(probe, 0x8915, request)[20:24])  # SIOCGIFADDR
                if not address.startswith("127."):
                    return address
    return None


def _range() -> tuple[int, int]:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        highest = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        highest = _FALLBACK_HIGHEST
    highest = min(highest, _FALLBACK_HIGHEST)  # livekit's TURN relays take 30000 to 40000
    return (_LOWEST, highest) if highest - _LOWEST >= 1000 else (_LOWEST, _FALLBACK_HIGHEST)


def _bound(kind: str, host: str, port: int, reuse: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        if reuse and kind == "tcp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held
