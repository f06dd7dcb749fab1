"""A number painted into a picture so that it survives compression and scaling.

Owns: the layout of the blocks, painting and reading. Standard library only; no threads.
The top quarter of the picture is two rows of 16 blocks, black for 0 and white for 1: 24 bits of the counter,
most significant first, then 8 bits of checksum. Reading looks at the middle of each block only and refuses
(None) what is grey or has a wrong checksum.
"""

from __future__ import annotations

from utdstream.media import Buffer, PixelFormat, RawFrame

COLUMNS, ROWS = 16, 2
BITS = 24
BLACK, WHITE = 16, 235
_DARK_BELOW, _BRIGHT_FROM = 100, 150


def checksum(counter: int) -> int:
    """Eight bits that differ from those of neighbouring counters, and are not 0 for 0."""
    return (counter * 0x9D + (counter >> 8) * 0x35 + (counter >> 16) * 0x6B + 0xA5) & 0xFF


def bits_of(counter: int) -> list[bool]:
    """The 32 blocks for a counter (which wraps at 2^24)."""
    value = counter % (1 << BITS)
    word = value << 8 | checksum(value)
    return [bool(word >> place & 1) for place in range(COLUMNS * ROWS - 1, -1, -1)]


def block_height(height: int) -> int:
    """Lines of one row of blocks."""
    return max(1, height // 8)


def paint(luma: bytearray, width: int, height: int, counter: int) -> None:
    """Paints the blocks into the luma plane at the beginning of `luma`: two slice copies a frame."""
    blocks = bits_of(counter)
    lines = block_height(height)
    edges = [column * width // COLUMNS for column in range(COLUMNS + 1)]
    for row in range(ROWS):
        line = b"".join(
            (b"\xeb" if blocks[row * COLUMNS + column] else b"\x10") * (edges[column + 1] - edges[column])
            for column in range(COLUMNS)
        )
        start = row * lines * width
        luma[start : start + lines * width] = line * lines


def read(frame: RawFrame) -> int | None:
    """The counter in a picture of any supported format and size, None when there is none to be read."""
    width, height = frame.width, frame.height
    pixels: Buffer = frame.data
    if width < 4 * COLUMNS or height < 32 or len(pixels) < frame.pixel_format.size_bytes(width, height):
        return None
    lines = height / 8
    word = 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            brightness = _brightness(
                frame, int((column + 0.5) * width / COLUMNS), int((row + 0.5) * lines), width // COLUMNS // 4
            )
            if _DARK_BELOW <= brightness < _BRIGHT_FROM:
                return None
            word = word << 1 | (brightness >= _BRIGHT_FROM)
    counter = word >> 8
    return counter if word & 0xFF == checksum(counter) else None


def _brightness(frame: RawFrame, x: int, y: int, around: int) -> float:
    """Mean of the pixels on one line around (x, y)."""
    pixels, width = frame.data, frame.width
    first, last = x - around, x + around + 1
    if frame.pixel_format in (PixelFormat.I420, PixelFormat.NV12):
        return sum(pixels[y * width + first : y * width + last]) / (last - first)
    size = 3 if frame.pixel_format is PixelFormat.RGB24 else 4
    start = (y * width + first) * size
    stop = (y * width + last) * size
    # The blocks are grey: the green channel (the second in RGB, RGBA and BGRA alike) is the brightness.
    return sum(pixels[start + 1 : stop : size]) / (last - first)
