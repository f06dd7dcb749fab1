"""Whose connection it is: the identity, read from what a client says first.

Owns: where each protocol says it. Pure, no socket; secrets are neither checked nor kept. Any thread.

1. HTTP and signalling: the `sub` of the bearer, or of the token in the query; of a sign-in, its body.
2. MQTT: the user name of the first packet, `app/identity[/key]`.
3. Media: a STUN request names the session it belongs to (`ufrag`), and signalling told the client that name.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from urllib.parse import unquote

_BEARER = re.compile(rb"(?i)\r\nauthorization: *bearer +([\w-]+\.[\w-]+\.[\w-]*)")
_IN_QUERY = re.compile(rb"[?&]access_token=([\w-]+\.[\w-]+\.[\w-]*)")
_IN_BODY = re.compile(rb'"identity": *"([^"\\]+)"')
_UFRAG = re.compile(rb"a=ice-ufrag:([A-Za-z0-9+/]{4,256})")
_STUN_COOKIE = b"\x21\x12\xa4\x42"
_STUN_USERNAME = 0x0006
_CONNECT = 0x10
LONGEST_UFRAG = 300


def of_http(request: bytes) -> str | None:
    """Returns the identity that a request names, or None: one that signs in names it in its body."""
    found = _BEARER.search(request) or _IN_QUERY.search(request)
    if found is None:
        named = _IN_BODY.search(request)
        return named[1].decode(errors="replace") if named is not None else None
    claims = found[1].split(b".")[1]
    try:
        said = json.loads(base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4)))
    except (binascii.Error, ValueError):
        return None
    identity = said.get("sub") if isinstance(said, dict) else None
    return identity if isinstance(identity, str) else None


def of_mqtt(packet: bytes) -> str | None:
    """Returns the identity in the user name of an MQTT 5 CONNECT packet, or None."""
    if not packet or packet[0] != _CONNECT:
        return None
    try:
        at = 1
        while packet[at] & 0x80:
            at += 1
        at += 1
        at += 2 + struct.unpack_from(">H", packet, at)[0]  # protocol name
        flags = packet[at + 1]
        at += 4  # version, flags, keep-alive
        at = _behind_properties(packet, at)
        at += 2 + struct.unpack_from(">H", packet, at)[0]  # client id
        if flags & 0x04:  # will: properties, topic, payload
            at = _behind_properties(packet, at)
            at += 2 + struct.unpack_from(">H", packet, at)[0]
            at += 2 + struct.unpack_from(">H", packet, at)[0]
        if not flags & 0x80:
            return None
        size = struct.unpack_from(">H", packet, at)[0]
        words = packet[at + 2 : at + 2 + size].decode().split("/")
    except (IndexError, struct.error, UnicodeDecodeError):
        return None
    return unquote(words[1]) if len(words) > 1 else None


def ufrags_in(signalling: bytes) -> list[bytes]:
    """Returns the session names in what the server signals."""
    return [found[1] for found in _UFRAG.finditer(signalling)]


def ufrag_of(packet: bytes) -> bytes | None:
    """Returns the server's session name in a client's STUN request, or None."""
    if len(packet) < 20 or packet[4:8] != _STUN_COOKIE:
        return None
    at = 20
    while at + 4 <= len(packet):
        kind, size = struct.unpack_from(">HH", packet, at)
        if kind == _STUN_USERNAME:
            return bytes(packet[at + 4 : at + 4 + size]).partition(b":")[0]
        at += 4 + size + (-size % 4)
    return None


def _behind_properties(packet: bytes, at: int) -> int:
    size, shift = 0, 0
    while True:
        digit = packet[at]
        at += 1
        size |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return at + size
