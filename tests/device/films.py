"""Films for cameras that play a file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy


def film(path: Path, pictures: int = 20) -> Path:
    """A film that gets lighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(pictures):
            grey = numpy.full((240, 320, 3), number * 4, dtype=numpy.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path
