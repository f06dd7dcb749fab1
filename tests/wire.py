"""Listeners on the wire between devices and a stack: one for every byte of TCP, one for media's datagrams."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

from authority import Authority, TlsDoor

from utdstream.engine.stack.settings import StackSection, StackSettings, TlsSection, new_project
from utdstream.engine.stack.supervisor import Supervisor
from utdstream.testing import LocalStack


class Wire:
    """A stack of which devices are told addresses on the wire; one with an authority encrypts, as with `--tls`."""

    def __init__(self, folder: Path, authority: Authority | None) -> None:
        self._open = ExitStack()
        self.ca_file = None if authority is None else authority.ca_file
        self.taps = [TlsDoor(0, None) for _ in range(3 if authority is None else 2)]
        for tap in self.taps:
            self._open.enter_context(tap)
        s = "" if authority is None else "s"
        public = StackSection(
            public_url=f"http{s}://localhost:{self.taps[0].port}",
            mqtt_public_port=self.taps[1].port,
            livekit_public_url=f"ws{s}://localhost:{self.taps[-1 if authority is None else 0].port}",
        )
        tls = TlsSection(enabled=authority is not None, authority=authority.folder if authority else None)
        project = replace(new_project(), open_key=True)
        running = Supervisor(StackSettings(folder=folder, project=project, public=public, tls=tls))
        self._open.enter_context(running)
        self.settings = running.settings
        self.base_url = running.settings.base_url
        self.app_id, self.app_key = project.app_id, project.app_key
        ports = running.settings.ports
        self.media_port = ports.livekit_udp or 0
        behind = (ports.https, ports.mqtts) if authority else (ports.engine, ports.mqtt, ports.livekit)
        for tap, port in zip(self.taps, behind, strict=True):
            assert port is not None
            tap.to_port = port

    @property
    def stack(self) -> LocalStack:
        """Itself, for what asks a stack for its address and its project alone."""
        return cast(LocalStack, self)

    @property
    def seen(self) -> bytes:
        """All that went by, in both directions."""
        return b"".join(bytes(tap.seen) for tap in self.taps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class Datagrams:
    """What goes by on loopback from and to one UDP port, read from the network card. Needs root."""

    def __init__(self, port: int) -> None:
        self.seen = bytearray()
        self._port = port
        self._card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._card.bind(("lo", 0))
        self._card.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self._card.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="datagrams")

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                frame = self._card.recv(65536)
            except TimeoutError:
                continue
            if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
                continue
            inside = 14 + (frame[14] & 15) * 4
            ports = {int.from_bytes(frame[inside + at : inside + at + 2], "big") for at in (0, 2)}
            if self._port in ports:
                self.seen += frame[inside:]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._card.close()
