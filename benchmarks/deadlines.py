"""How far past its deadline a public call returns when the server accepts and stays silent.

    python -m benchmarks.deadlines [--calls 60] [--json]

Every call gets a deadline between 50 and 250 ms against a socket that accepts, reads and never answers (the
bearer is minted before it falls silent). Bar: the 99th percentile of all calls at most 50 ms late.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable

from utdstream import UTDRoom, UTDStreamClient, UTDStreamException, UTDStreamType

BAR_MS = 50.0
MINT = json.dumps({"user_token": "a-bearer", "ws_url": None}).encode()


class SilentServer:
    """Answers mints while `speaking`; otherwise accepts, reads, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.speaking = True
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, name="silent-server", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(connection)
            if self.speaking:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(MINT), MINT)
                )
                connection.close()

    def close(self) -> None:
        self._listener.close()
        for connection in self._held:
            connection.close()


def lateness_ms(call: Callable[[float], object], timeout: float) -> float:
    began = time.monotonic()
    try:
        call(timeout)
    except UTDStreamException:
        return (time.monotonic() - began - timeout) * 1000
    raise AssertionError("a call against a silent server returned")


def measure(calls: int) -> dict[str, list[float]]:
    """Milliseconds past the deadline, by public call."""
    server = SilentServer()
    dice = random.Random(1)
    url = f"http://127.0.0.1:{server.port}"
    late: dict[str, list[float]] = {}
    try:
        for _ in range(calls):
            for name in ("authenticate", "start", "accept", "ringing", "reject", "connect", "wait_for"):
                # a client each: four silent requests occupy all its threads for some seconds
                client = UTDStreamClient("1234567890", "key", base_url=url)
                server.speaking = True
                client.authenticate(identity="me")
                session = client.call_session(UTDStreamType.AUDIO_CALL)
                room = UTDRoom()
                server.speaking = False
                actions: dict[str, Callable[[float], object]] = {
                    "authenticate": lambda t, c=client: c.authenticate(identity="me", timeout=t),
                    "start": lambda t, s=session: s.start(callee_identity="you", timeout=t),
                    "accept": lambda t, s=session: s.accept("call_1", timeout=t),
                    "ringing": lambda t, s=session: s.ringing("call_1", timeout=t),
                    "reject": lambda t, s=session: s.reject("call_1", timeout=t),
                    "connect": lambda t, r=room: r.connect(url.replace("http", "ws"), "a.b.c", timeout=t),
                    "wait_for": lambda t, r=room: r.connected.wait_for(True, timeout=t),
                }
                late.setdefault(name, []).append(lateness_ms(actions[name], dice.uniform(0.05, 0.25)))
                client.dispose(timeout=0.2)
                room.dispose(timeout=0.2)
    finally:
        server.close()
    return late


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=60, help="calls of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    late = measure(options.calls)
    everything = [value for values in late.values() for value in values]
    result = {
        "calls": len(everything),
        "late_p50_ms": round(percentile(everything, 0.5), 2),
        "late_p99_ms": round(percentile(everything, 0.99), 2),
        "late_worst_ms": round(max(everything), 2),
        "bar_p99_ms": BAR_MS,
        "p99_ms_by_call": {name: round(percentile(values, 0.99), 2) for name, values in late.items()},
    }
    holds = result["late_p99_ms"] <= BAR_MS
    if options.json:
        print(json.dumps([result | {"holds": holds}], indent=2))
    else:
        print(
            f"{'ok  ' if holds else 'OVER'} past the deadline against a silent server: "
            f"p50 {result['late_p50_ms']} ms, p99 {result['late_p99_ms']} ms (bar {BAR_MS:g}), worst "
            f"{result['late_worst_ms']} ms, {result['calls']} calls"
        )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
