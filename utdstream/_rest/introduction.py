"""One request to an engine whose certificate is not checked yet: it may be anybody.

Owns: that request, and nothing else that leaves the check out. Any thread but the loop's; the request runs on a
daemon thread of its own (`utdstream-introduction`), so that its caller's deadline holds.

1. Nothing secret may be in the request, and nothing in the answer is believed before it is proven (`pairing`).
2. No word of the answer is shown to a person: it may be anybody's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from queue import Empty
from urllib.parse import urlsplit

from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import start_thread
from utdstream._wire import codec
from utdstream.errors import EngineUnreachable, TlsFailed, UTDStreamException, error_from_answer
from utdstream.mailbox import Mailbox
from utdstream.trust import ONLY_TLS, only_tls, tls_problem

STEP_S = 8.0
MAX_BYTES = 64 * 1024
_WORDS = {
    404: ": it is too old for this, or something else; check the address",
    429: ": too many asked from this address; wait a minute",
}


def ask_a_stranger(
    base_url: str, path: str, body: Mapping[str, object], deadline: Deadline
) -> codec.JsonObject:
    """Returns the JSON object with which whatever is at `base_url` answers a POST.

    Blocks: to the deadline. Raises: EngineError kinds by status and code, EngineUnreachable, DeadlineExceeded.
    """
    parts = urlsplit(base_url)
    connection = _connection(
        parts.scheme, parts.hostname or "", parts.port, min(STEP_S, deadline.remaining())
    )
    reply: Mailbox[codec.JsonObject | UTDStreamException] = Mailbox()

    def ask() -> None:
        try:
            reply.put(_answer(connection, path, body, base_url))
        except UTDStreamException as error:
            reply.put(error)
        finally:
            connection.close()

    start_thread(ask, "utdstream-introduction")
    try:
        outcome = deadline.get(reply)
    except Empty:
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        raise deadline.error("nothing answered as an engine") from None
    if isinstance(outcome, UTDStreamException):
        raise outcome
    return outcome


def _connection(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # rules 1 and 2
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _answer(
    connection: http.client.HTTPConnection, path: str, body: Mapping[str, object], base_url: str
) -> codec.JsonObject:
    host = urlsplit(base_url).netloc
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read(MAX_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if only_tls(error, base_url):
            raise TlsFailed(f"asking {host} failed: {ONLY_TLS}") from error
        if found := tls_problem(error):
            raise TlsFailed(f"asking {host} failed: {found}") from error
        raise EngineUnreachable(
            f"{host} cannot be reached: check the address and the network, and that the engine runs"
        ) from error
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise EngineUnreachable(f"what answers at {host} is no engine that pairs devices; check the address")
    if response.status == http.client.OK:
        return said
    _, code, retry_after_s = codec.error_message(said)
    what = _WORDS.get(response.status, "")
    raise error_from_answer(
        response.status, f"the engine at {host} answered {response.status}{what}", code, retry_after_s
    )
