"""A camera in a process of its own for `benchmarks.camera`: publishes 720p30, says what it cost.

Standard input brings one line of JSON (url, token, arm: raw, encoded or none), then `measure` lines; each is
answered with the process's CPU seconds and the clock. Pictures and access units are made
beforehand and replayed: what is measured is publishing.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

from device.camera.encoder import H264Encoder
from utdstream import Devices, UTDRoom
from utdstream.media import EncodedFrame, PixelFormat, RawFrame
from utdstream.synthetic import PatternCamera

WIDTH, HEIGHT, RATE = 1280, 720, 30
PICTURES = 60


def pictures() -> list[RawFrame]:
    """Two seconds of the test pattern."""
    made: list[RawFrame] = []
    camera, enough = PatternCamera(WIDTH, HEIGHT, RATE), threading.Event()

    def take(frame: RawFrame | EncodedFrame) -> None:
        assert isinstance(frame, RawFrame)
        made.append(RawFrame(bytes(frame.data), WIDTH, HEIGHT, PixelFormat.I420, 0))
        if len(made) >= PICTURES:
            enough.set()

    camera.start(take)
    enough.wait()
    camera.stop()
    return made[:PICTURES]


class Replay:
    """Replays pictures or access units in real time; a wanted key frame begins the round anew."""

    def __init__(self, *, encoded: bool) -> None:
        self.width, self.height, self.frames_per_second = WIDTH, HEIGHT, RATE
        self.encoded = encoded
        raw = pictures()
        self._frames: list[RawFrame | EncodedFrame] = list(raw)
        if encoded:
            encoder = H264Encoder(WIDTH, HEIGHT, RATE, 1_500_000)
            self._frames = [unit for unit in map(encoder.encode, raw) if unit is not None]
        self._at = 0
        self._watched = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        self._stop.clear()

        def run() -> None:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += 1 / RATE
                if self.encoded and not self._watched:
                    continue
                frame = self._frames[self._at % len(self._frames)]
                self._at += 1
                now_us = time.monotonic_ns() // 1000
                if isinstance(frame, RawFrame):
                    sink(RawFrame(frame.data, WIDTH, HEIGHT, PixelFormat.I420, now_us))
                else:
                    sink(EncodedFrame(frame.data, WIDTH, HEIGHT, "h264", frame.is_key_frame, now_us))

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def request_key_frame(self) -> None:
        self._at = 0

    def set_bitrate(self, bitrate_bps: int) -> None:
        pass

    def set_watched(self, watched: bool) -> None:
        if watched:
            self._at = 0
        self._watched = watched


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    arm = settings["arm"]
    camera = None if arm == "none" else Replay(encoded=arm == "encoded")
    with UTDRoom(devices=Devices(camera=camera)) as room:
        room.connect(settings["url"], settings["token"])
        if camera is not None:
            room.set_camera(True)
        print("publishing", flush=True)
        for _ in sys.stdin:
            print(
                json.dumps([time.process_time(), time.monotonic(), room.stats().video_frames_sent]),
                flush=True,
            )


if __name__ == "__main__":
    main()
