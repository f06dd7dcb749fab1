"""The house: rings for a second, accepts, watches until the door hangs up.

Run as `python -m utdstream._command.demo.house`.

Owns: the called side of the demo. Plain blocking code, as a customer would write it.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from queue import Empty

from utdstream import (
    DeadlineExceeded,
    Devices,
    IncomingCall,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamException,
)
from utdstream._command.demo.ear import Ear
from utdstream._command.demo.line import CallFailed, Line, run, threads_left
from utdstream.mailbox import Mailbox
from utdstream.synthetic import ToneMicrophone, read_counter

TONE_HZ = 700
RING_S = 1.0
PATIENCE_S = 20.0
TICK_S = 0.5
SNAPSHOT_AFTER = 30
"""Pictures before the one that is kept: the codec has found its quality by then."""


def main() -> int:
    """Runs the house. Returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--heard", type=Path, required=True, help="where the sound goes")
    parser.add_argument("--snapshot", type=Path, required=True, help="where a picture goes (PNG)")
    arguments = parser.parse_args()
    return run(lambda line: house(line, arguments.heard, arguments.snapshot))


def house(line: Line, heard: Path, snapshot: Path) -> None:
    """Takes one call, from the ring to the other side's hang-up."""
    ear = Ear()
    rings: Mailbox[tuple[float, IncomingCall]] = Mailbox()
    statuses: list[str] = []
    access = line.credentials
    devices = Devices(microphone=ToneMicrophone(TONE_HZ), speaker=ear)
    with UTDStreamClient(access.app_id, access.app_key, base_url=access.base_url, devices=devices) as client:
        client.errors.subscribe(lambda error: line.say("error", sentence=str(error.error)))
        client.authenticate(identity="house", name="House")
        inbox = client.incoming_calls()
        inbox.ringing.subscribe(lambda incoming: rings.put((time.monotonic(), incoming)))
        inbox.connected.wait_for(True, timeout=PATIENCE_S)
        line.say("ready")

        try:
            rung_at, incoming = rings.get(timeout=PATIENCE_S)
        except Empty:
            raise CallFailed(f"no call rang at the house within {PATIENCE_S:g} s") from None
        line.say("ringing", at=rung_at, caller=incoming.caller_name or incoming.caller_identity)
        with client.call_session(incoming.type) as call:
            call.status.subscribe(lambda change: statuses.append(change.new.wire if change.new else "none"))
            call.ringing(incoming.call_id)
            _let_it_ring(call)
            accepted_at = time.monotonic()
            call.accept(incoming.call_id)
            line.say("accepted", at=accepted_at)
            pictures = _watch(line, call, ear, snapshot)
            call.status.wait_for(UTDCallStatus.ENDED, timeout=PATIENCE_S)
    line.say(
        "result",
        rung_at=rung_at,
        accepted_at=accepted_at,
        pictures=pictures,
        statuses=statuses,
        threads=threads_left(),
        **ear.report(heard),
    )


def _let_it_ring(call: UTDCallSession) -> None:
    try:
        call.status.wait_for(lambda now: now is not None and now.is_terminal, timeout=RING_S)
    except DeadlineExceeded:
        return
    raise CallFailed("the door gave up before the house answered")


def _watch(line: Line, call: UTDCallSession, ear: Ear, snapshot: Path) -> list[list[object]]:
    """Notes every picture until the room is over: when, which number, how large."""
    pictures: list[list[object]] = []
    said_at, said = time.monotonic(), 0
    keeper: threading.Thread | None = None
    for frame in call.video_frames(timeout=PATIENCE_S):
        now = time.monotonic()
        pictures.append([now, read_counter(frame), frame.width, frame.height])
        if keeper is None and len(pictures) >= SNAPSHOT_AFTER:
            # Making a PNG takes as long as two pictures: not on the thread that counts them.
            keeper = threading.Thread(target=_keep, args=(line, call, snapshot), name="demo-snapshot")
            keeper.start()
        if now - said_at >= TICK_S:
            fps = (len(pictures) - said) / (now - said_at)
            line.say("tick", seen=len(pictures), fps=fps, hears_hz=ear.hears_hz())
            said_at, said = now, len(pictures)
    if keeper is not None:
        keeper.join()
    return pictures


def _keep(line: Line, call: UTDCallSession, path: Path) -> None:
    try:
        call.snapshot(path)
    except (UTDStreamException, OSError) as error:
        line.say("error", sentence=f"no picture was kept: {error}")


if __name__ == "__main__":
    sys.exit(main())
