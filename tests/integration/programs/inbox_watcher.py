"""Waits for calls, and says when messages of them come (`up`) and when not (`down`), until standard input ends."""

from __future__ import annotations

import sys

from utdstream import UTDStreamClient

with UTDStreamClient.from_environment() as client:
    client.authenticate(identity="watcher")
    inbox = client.incoming_calls()
    inbox.connected.subscribe(lambda change: print("up" if change.new else "down", flush=True))
    sys.stdin.read()
