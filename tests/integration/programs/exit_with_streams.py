"""Ends without closing anything: sound and pictures flow both ways, an iterator is open, a join is under way.

Standard input brings one line of JSON: url, tokens (three). It prints `flowing` and falls off its end.
"""

from __future__ import annotations

import contextlib
import json
import sys

from utdstream import DeadlineExceeded, Devices, UTDRoom
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    first, second = (
        UTDRoom(devices=Devices(ToneMicrophone(tone), NullSpeaker(), PatternCamera(320, 240, 15)))
        for tone in (700, 1000)
    )
    for room, token in zip((first, second), settings["tokens"], strict=False):
        room.connect(settings["url"], token)
        room.set_microphone(True)
        room.set_camera(True)
    seen = first.video_frames()
    next(seen)
    heard = second.audio_frames()
    next(heard)
    next(second.video_frames())
    with contextlib.suppress(DeadlineExceeded):
        UTDRoom().connect(settings["url"], settings["tokens"][2], timeout=0.03)
    print("flowing", flush=True)


main()
