"""A publisher in a process of its own: microphone and camera in a room, until its standard input ends.

Standard input brings one line of JSON: url, token. It prints `publishing` when both are on air.
"""

from __future__ import annotations

import json
import sys

from utdstream import Devices, UTDRoom
from utdstream.synthetic import PatternCamera, ToneMicrophone


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    devices = Devices(microphone=ToneMicrophone(), camera=PatternCamera(320, 240, 15))
    with UTDRoom(devices=devices) as room:
        room.connect(settings["url"], settings["token"])
        room.set_microphone(True)
        room.set_camera(True)
        print("publishing", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
