"""Pictures as SVG: boxes, arrows, words. They show wherever the pages do, without a script and without a network.

Owns: where each box stands. What stands in the drawing of a call is the calls' table.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from utdstream._wire import call_states as states

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">
<title>{title}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" \
orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#37474f"/></marker></defs>
<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>
"""

Point = tuple[int, int]


def _box(x: int, y: int, width: int, height: int, words: str, fill: str = "#e8eaf6") -> str:
    lines = words.split("\n")
    first = y + height / 2 + 4.5 - 8 * (len(lines) - 1)
    text = "".join(
        f'<text x="{x + width / 2:g}" y="{first + 16 * number:g}" text-anchor="middle" fill="#1a237e">'
        f"{escape(line)}</text>\n"
        for number, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#3f51b5"/>\n'
        + text
    )


def _frame(x: int, y: int, width: int, height: int, words: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="#000000" fill-opacity="0.03" '
        f'stroke="#90a4ae" stroke-dasharray="5 3"/>\n'
        f'<text x="{x + 12}" y="{y + 19}" fill="#546e7a">{escape(words)}</text>\n'
    )


def _arrow(
    points: Sequence[Point],
    words: str = "",
    at: Point | None = None,
    *,
    both: bool = False,
    left: bool = False,
) -> str:
    path = "M" + " ".join(f"{x} {y}" for x, y in points)
    start = ' marker-start="url(#head)"' if both else ""
    line = f'<path d="{path}" fill="none" stroke="#37474f" marker-end="url(#head)"{start}/>\n'
    if not words:
        return line
    (x1, y1), (x2, y2) = points[0], points[-1]
    x, y = at or ((x1 + x2) // 2, (y1 + y2) // 2 - 6)
    anchor = "start" if left else "middle"
    return line + f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#37474f">{escape(words)}</text>\n'


def _drawing(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return _HEAD.format(width=width, height=height, title=escape(title)) + "".join(parts) + "</svg>\n"


# --- the life of a call

_STATE_AT = {
    "initiating": (150, 75),
    "ringing": (310, 75),
    "active": (490, 75),
    "ended": (690, 75),
    "rejected": (130, 215),
    "busy": (250, 215),
    "missed": (370, 215),
}
_UNANSWERED = (130, 45, 300, 90)
_OPEN = (110, 15, 500, 135)


def call_states() -> str:
    """The calls' table: a step leads from a state, or from every state in a frame."""
    parts = [_frame(*_OPEN, "open"), _frame(*_UNANSWERED, "unanswered"), '<circle cx="30" cy="95" r="7"/>\n']
    for row in states.TRANSITIONS:
        parts.append(_step(row))
    for state, (x, y) in _STATE_AT.items():
        final = state in {each.wire for each in states.FINAL_STATES}
        parts.append(_box(x, y, 100, 40, state, "#fff3e0" if final else "#e8eaf6"))
    title = "Life of a call: " + "; ".join(
        f"{row.trigger} to {row.target.wire}" for row in states.TRANSITIONS
    )
    return _drawing(810, 270, title, parts)


def _step(row: states.Transition) -> str:
    x, y = _STATE_AT[row.target.wire]
    if row.sources == (None,):
        return _arrow([(40, 95), (x, 95)], row.trigger, (74, 89))
    if row.sources == states.UNANSWERED_STATES and y > 150:
        return _arrow([(x + 50, 135), (x + 50, y)], row.trigger, (x + 58, 188), left=True)
    if row.sources == states.UNANSWERED_STATES:
        return _arrow([(430, 95), (x, 95)], row.trigger)
    if row.sources == states.OPEN_STATES:
        return _arrow([(610, 95), (x, 95)], row.trigger)
    (source,) = (each for each in row.sources if each is not None)
    return _arrow([(_STATE_AT[source.wire][0] + 100, 95), (x, 95)], row.trigger)


# --- the parts


def architecture() -> str:
    """The parts of a device and of the engine's stack, and what goes between them."""
    return _drawing(
        870,
        500,
        "A device and the stack: REST to the engine, rings from the broker, media with livekit-server",
        [
            _frame(10, 10, 580, 480, "a device (your program)"),
            _frame(650, 10, 210, 480, "utdstream engine up"),
            _box(30, 60, 120, 40, "your code", "#e8f5e9"),
            _box(200, 60, 180, 40, "UTDStreamClient"),
            _box(240, 150, 140, 40, "IncomingCallInbox"),
            _box(200, 226, 180, 72, "UTDCallSession\nUTDAudioRoomSession\nUTDLiveStreamSession"),
            _box(200, 340, 180, 40, "UTDRoom"),
            _box(430, 150, 140, 40, "mqtt"),
            _box(430, 242, 140, 40, "_rest"),
            _box(430, 335, 140, 50, "_livekit\n(loop thread)"),
            _box(430, 435, 140, 40, "camera, sound card", "#e8f5e9"),
            _box(680, 150, 150, 40, "mosquitto", "#fff3e0"),
            _box(680, 242, 150, 40, "engine", "#fff3e0"),
            _box(680, 340, 150, 40, "livekit-server", "#fff3e0"),
            _arrow([(150, 80), (200, 80)]),
            _arrow([(310, 100), (310, 150)]),
            _arrow([(218, 100), (218, 226)]),
            _arrow([(380, 170), (430, 170)]),
            _arrow([(380, 182), (430, 250)]),
            _arrow([(380, 264), (430, 264)]),
            _arrow([(290, 298), (290, 340)]),
            _arrow([(380, 360), (430, 360)]),
            _arrow([(500, 435), (500, 385)], both=True),
            _arrow([(680, 170), (570, 170)], "rings"),
            _arrow([(570, 262), (680, 262)], "REST"),
            _arrow([(570, 360), (680, 360)], "media", both=True),
            _arrow([(755, 242), (755, 190)]),
            _arrow([(735, 282), (735, 340)]),
            _arrow([(775, 340), (775, 282)], "webhooks", (783, 316), left=True),
        ],
    )
