"""The door: presses the button, talks for some seconds, hangs up. `python -m utdstream._command.demo.door`.

Owns: the calling side of the demo. Plain blocking code, as a customer would write it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from utdstream import DeadlineExceeded, Devices, RawFrame, UTDCallSession, UTDStreamClient, UTDStreamType
from utdstream._command.demo.ear import Ear
from utdstream._command.demo.line import CallFailed, Line, run, threads_left
from utdstream.synthetic import PatternCamera, ToneMicrophone

TONE_HZ = 1000
SIZE = (640, 480)
FRAMES_PER_SECOND = 30
PATIENCE_S = 20.0
TICK_S = 0.5


class CountingCamera(PatternCamera):
    """Knows the number of the newest picture it gave away."""

    newest = -1

    def picture(self, number: int) -> RawFrame:
        frame = super().picture(number)
        self.newest = number
        return frame


def main() -> int:
    """Runs the door. Returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--heard", type=Path, required=True, help="where the sound goes")
    arguments = parser.parse_args()
    return run(lambda line: door(line, arguments.seconds, arguments.heard))


def door(line: Line, seconds: float, heard: Path) -> None:
    """Makes one call, from the button to the hang-up."""
    ear, camera = Ear(), CountingCamera(*SIZE, FRAMES_PER_SECOND)
    devices = Devices(microphone=ToneMicrophone(TONE_HZ), speaker=ear, camera=camera)
    statuses: list[str] = []
    access = line.credentials
    with UTDStreamClient(access.app_id, access.app_key, base_url=access.base_url, devices=devices) as client:
        client.errors.subscribe(lambda error: line.say("error", sentence=str(error.error)))
        client.authenticate(identity="door", name="Front door")
        with client.call_session(UTDStreamType.VIDEO_CALL) as call:
            call.status.subscribe(lambda change: statuses.append(change.new.wire if change.new else "none"))
            line.say("ready")
            line.wait_for_press(PATIENCE_S)

            pressed_at = time.monotonic()
            line.say("pressed", at=pressed_at)
            call.start(callee_identity="house", callee_name="House")
            call.wait_for_answer(timeout=PATIENCE_S)
            line.say("answered")

            hang_up_at = time.monotonic() + seconds
            while (left := hang_up_at - time.monotonic()) > 0:
                if _ends(call, within_s=min(TICK_S, left)):
                    raise CallFailed("the call ended before the door hung up")
                line.say("tick", sent=camera.newest, hears_hz=ear.hears_hz())

            hung_up_at, last_sent = time.monotonic(), camera.newest
            call.end()
    line.say(
        "result",
        pressed_at=pressed_at,
        hung_up_at=hung_up_at,
        last_sent=last_sent,
        statuses=statuses,
        threads=threads_left(),
        **ear.report(heard),
    )


def _ends(call: UTDCallSession, *, within_s: float) -> bool:
    try:
        call.status.wait_for(lambda now: now is None or now.is_terminal, timeout=within_s)
    except DeadlineExceeded:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
