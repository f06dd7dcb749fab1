"""HAProxy in front of a stack with TLS: its configuration, and a new certificate while it runs.

Owns: the folder `proxy` of the data folder, and what is said over the socket there, the proxy's own. Any thread.
Imports the stack's settings and files. livekit-server and the engine encrypt nothing themselves; the broker could,
but behind the same proxy it has one certificate, one time-out for a handshake and one limit by address with them.

1. Everything else listens on loopback alone; nothing of the media server but signalling is passed on.
2. A client has `_HANDSHAKE_S` for the handshake and `_HEAD_S` for what it then asks.
3. An address from which nobody signed in may open a thirty-second of all connections in `_HANDSHAKE_S`; of IPv6 a
   /64 is one. Where three eighths are taken at a port, only those from which somebody did find a place.
4. The engine learns a client's address from X-Forwarded-For, which is written here and taken from nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
from pathlib import Path

from utdstream._wire import routes
from utdstream.engine.config import WEBHOOK_PATH
from utdstream.engine.stack.ports import LOOPBACK, Part, has_ipv6
from utdstream.engine.stack.private_files import private_folder, write_private
from utdstream.engine.stack.settings import StackSettings
from utdstream.engine.stack.users import User, hand_over

SOCKET = "haproxy.sock"
_CERTIFICATE = "server.pem"
_HANDSHAKE_S = 10
_HEAD_S = 5
_MOST_CONNECTIONS = 2000
_KEPT_DESCRIPTORS = 100
_DOWN = {
    "message": "This part of the engine does not answer; try again",
    "code": "unavailable",
    "retry_after": 1,
}
_SLOW = {"message": "The request did not arrive in time", "code": "request_timeout"}
_BAD = {"message": "This is no HTTP request", "code": "validation_failed"}
_ANSWERS = {400: _BAD, 408: _SLOW, 502: _DOWN, 503: _DOWN, 504: _DOWN}


def proxy_folder(settings: StackSettings) -> Path:
    """Where the proxy has its files: all that it reads and writes."""
    return settings.file("proxy")


def haproxy_command(program: Path, settings: StackSettings) -> list[str]:
    """Runs in its folder, which its files are named from: a socket's path may have 100 characters only."""
    return [str(program), "-C", str(proxy_folder(settings)), "-f", "haproxy.cfg"]


def put_files(settings: StackSettings) -> None:
    """Writes the configuration, and the proxy's copy of the certificate, which is made already."""
    folder = proxy_folder(settings)
    private_folder(folder)
    write_private(folder / "haproxy.cfg", haproxy_config(settings))
    write_private(folder / _CERTIFICATE, settings.server_file.read_text(encoding="ascii"))


def haproxy_config(settings: StackSettings) -> str:
    """HAProxy's configuration (2.6 and later)."""
    ports, most = settings.ports, _connections()
    shown = f"ssl crt {_CERTIFICATE}"
    answers = [
        f"    http-error status {status} content-type application/json string {_quoted(json.dumps(body))}"
        for status, body in _ANSWERS.items()
    ]
    lines = [
        "global",
        "    log stderr format raw local0 notice",
        f"    stats socket unix@{SOCKET} mode 600 level admin",
        f"    maxconn {most}",
        "    no strict-limits",
        "    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
        "defaults",
        "    log global",
        "    option dontlognull",
        "    timeout connect 2s",
        f"    timeout client {_HANDSHAKE_S}s",  # of a handshake too
        "    timeout server 75s",
        f"    timeout http-request {_HEAD_S}s",
        "    timeout tunnel 90s",
        "    retries 0",
        # A connection to the engine is one client's: what it may rests on who signed in on it.
        "    http-reuse never",
        "backend strangers",
        f"    stick-table type ipv6 size 20k expire 1m store conn_rate({_HANDSHAKE_S}s)",
        "backend known",
        "    stick-table type ipv6 size 20k expire 1d store gpt0",
        "frontend https",
        "    mode http",
        *_binds(settings, ports.https, f"{shown} alpn http/1.1"),
        *_limits(most),
        "    option disable-h2-upgrade",  # a client begins HTTP/2 unasked, with 100 requests on its one connection
        *answers,
        "    http-request set-header X-Forwarded-For %[src]",
        f"    http-request set-var(txn.asks) int(1) if {{ path_beg {routes.PREFIX}/ }}",
        "    acl signed_in status 200:299",
        "    acl signed_in_path var(txn.asks) -m int 1",
        "    http-response track-sc1 src table known if signed_in signed_in_path",
        "    http-response sc-set-gpt0(1) 1 if signed_in signed_in_path",
        f"    http-request deny deny_status 404 if {{ path_beg {WEBHOOK_PATH} }}",
        "    use_backend signalling if { path /rtc } or { path_beg /rtc/ }",
        "    default_backend engine",
        "backend engine",
        "    mode http",
        f"    server engine {LOOPBACK}:{ports.engine}",
        "backend signalling",
        "    mode http",
        f"    server livekit {LOOPBACK}:{ports.livekit}",
        "frontend mqtts",
        "    mode tcp",
        *_binds(settings, ports.mqtts, shown),
        *_limits(most),
        f"    tcp-request inspect-delay {_HEAD_S}s",
        "    tcp-request content accept if { req.payload(0,0),mqtt_is_valid }",
        "    tcp-request content reject if WAIT_END",
        "    default_backend broker",
        "backend broker",
        "    mode tcp",
        f"    server mosquitto {LOOPBACK}:{ports.mqtt}",
    ]
    return "\n".join(lines) + "\n"


def take_certificate(settings: StackSettings) -> bool:
    """Has the running proxy take a new certificate for the connections to come; whether it did.

    Blocks: a second at most. Connections that are open stay as they are.
    """
    folder = proxy_folder(settings)
    put_files(settings)
    own: dict[Part, User] = {part: user for part, user in settings.users.items() if part == "proxy"}
    hand_over(settings.folder, own, {"proxy": [folder]})
    text = "\n".join(line for line in settings.server_file.read_text(encoding="ascii").splitlines() if line)
    taken = _said(folder, f"set ssl cert {_CERTIFICATE} <<\n{text}\n\n")
    return "Transaction" in taken and "Success" in _said(folder, f"commit ssl cert {_CERTIFICATE}\n")


def _said(folder: Path, request: str) -> str:
    """The answer of the proxy to one request of its own; empty when there is none."""
    answer = bytearray()
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
            connection.settimeout(1.0)
            connection.connect(f"/proc/self/fd/{handle}/{SOCKET}")  # a short name for a long path
            connection.sendall(request.encode("ascii"))
            while piece := connection.recv(4096):
                answer += piece
    finally:
        os.close(handle)
    return answer.decode("ascii", errors="replace")


def _binds(settings: StackSettings, port: int | None, how: str) -> list[str]:
    hosts = ["0.0.0.0" if settings.lan else LOOPBACK]
    if has_ipv6():
        hosts.append("::" if settings.lan else "::1")
    return [f"    bind {host}:{port} {'v6only ' if ':' in host else ''}{how}" for host in hosts]


def _limits(most: int) -> list[str]:
    return [
        "    tcp-request connection accept if { src,table_gpt0(known) gt 0 }",
        "    tcp-request connection track-sc0 src,ipmask(32,64) table strangers",
        f"    tcp-request connection reject if {{ sc0_conn_rate(strangers) gt {max(8, most // 32)} }}",
        f"    tcp-request connection reject if {{ fe_conn gt {most * 3 // 8} }}",
    ]


def _connections() -> int:
    """Connections there is room for: each takes two descriptors, one on either side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(32, min(_MOST_CONNECTIONS, (hard - _KEPT_DESCRIPTORS) // 2))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
