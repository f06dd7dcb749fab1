"""Is a server answering? One probe for each of the programs.

Owns: what "ready" means. Each probe is one short connection. Imports the standard library only.
Blocks, to its time-out. Any thread but an event loop's.
"""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
import struct

from utdstream.engine.stack.ports import LOOPBACK, Part
from utdstream.engine.stack.settings import ENGINE_LOGIN, StackSettings


def failure(part: Part, settings: StackSettings, *, timeout: float = 1.0) -> str | None:
    """None when the part answers; else what was seen, in a few words."""
    ports = settings.ports
    number = {
        "livekit": ports.livekit,
        "engine": ports.engine,
        "mqtt": ports.mqtt_engine,
        "proxy": ports.https,
    }[part]
    if number is None:
        return "no port"
    try:
        if part == "mqtt":
            return _broker_failure(number, settings.secrets.mqtt_password, timeout)
        if part == "proxy":
            return _tls_failure(number, timeout)
        return _http_failure(number, "/health" if part == "engine" else "/", timeout)
    except OSError as error:
        return error.strerror or type(error).__name__
    except http.client.HTTPException as error:
        return f"not an HTTP answer ({type(error).__name__})"


def _http_failure(port: int, path: str, timeout: float) -> str | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return None if answer.status == 200 else f"HTTP {answer.status}"
    finally:
        connection.close()


def _tls_failure(port: int, timeout: float) -> str | None:
    """A handshake alone: what is behind the proxy has probes of its own, and the certificate was checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((LOOPBACK, port), timeout=timeout) as plain, context.wrap_socket(plain):
        return None


def _broker_failure(port: int, password: str, timeout: float) -> str | None:
    """Logs in as the engine (MQTT 5): proves the broker, its plugin and its logins in one exchange."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout) as connection:
        connection.sendall(_connect_packet(f"ready-{secrets.token_hex(6)}", ENGINE_LOGIN, password))
        answer = connection.recv(4)
        if len(answer) < 4 or answer[0] != 0x20:
            return "no CONNACK"
        if answer[3] != 0:
            return f"the broker refused the engine's login (reason {answer[3]:#x})"
        connection.sendall(b"\xe0\x00")  # DISCONNECT
    return None


def _connect_packet(client_id: str, username: str, password: str) -> bytes:
    fields = b"".join(
        struct.pack(">H", len(text)) + text.encode() for text in (client_id, username, password)
    )
    # protocol name, version 5, flags: user name, password, clean start; keep-alive 10 s; no properties
    body = b"\x00\x04MQTT\x05\xc2\x00\x0a\x00" + fields
    length = bytearray()
    rest = len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return b"\x10" + bytes(length) + body
