"""A TCP connection that is half-open: the kernel drops whatever comes for one end, before it is answered."""

from __future__ import annotations

import ctypes
import socket
import struct

from utdstream import UTDCallSession

_SO_ATTACH_FILTER = 26
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0


def deafen(end: socket.socket) -> None:
    """Has everything dropped that comes for this end: the other one gets no answer any more. Linux, no root."""
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(_DROP_ALL)))


def deafen_signal(session: UTDCallSession) -> None:
    """Makes the signal connection of a session half-open, from its own end."""
    life = session._media.life
    assert life is not None
    assert life.connection is not None
    for end in life.connection._link._signal._open():
        deafen(end)
