"""The engine as the vendor may answer: a test double of the other spelling.

    python vendor_engine.py --config ENGINE.toml

The rules are the real engine's; its answers are respelled on the way out (`roomName` alone, no `code`, no
`rev`, no `details`, calls as voice and video, no broker login), and it pushes nothing at all: no room
metadata, no data message, no MQTT. What the SDK needs of any of these, it must do without.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from utdstream.engine import __main__ as engine_main
from utdstream.engine import app
from utdstream.engine.media.sfu import Sfu

GONE = {"code", "rev", "details", "room_name_", "mqtt", "signaling_enabled", "user_token_"}
TYPES = {"audio_call": "voice", "video_call": "video"}


def respell(value: object) -> object:
    """The same answer in the other spelling."""
    if isinstance(value, list):
        return [respell(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: respell(item) for key, item in value.items() if key not in GONE}
    if "roomName" in fields:
        fields.pop("room_name", None)
    if fields.get("type") in TYPES:
        fields["type"] = TYPES[str(fields["type"])]
    if set(fields) == {"message"} and "not allowed" in str(fields["message"]):
        fields = {"error": fields["message"]}
    return fields


class Respelled:
    """Rewrites JSON answers of an ASGI application."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._inner(scope, receive, send)
            return
        head: list[Message] = []
        body = bytearray()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                head.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            try:
                out = json.dumps(respell(json.loads(bytes(body)))).encode() if body else b""
            except ValueError:
                out = bytes(body)
            start = head[0]
            start["headers"] = [
                (name, value) for name, value in start["headers"] if name.lower() != b"content-length"
            ] + [(b"content-length", str(len(out)).encode())]
            await send(start)
            await send({"type": "http.response.body", "body": out})

        await self._inner(scope, receive, hold)


async def _no_metadata(self: Sfu, name: str, metadata: str) -> None:
    return


async def _no_data(self: Sfu, name: str, data: bytes, to: Sequence[str] = ()) -> None:
    return


def main() -> int:
    create_room = Sfu.create_room
    make_stoppable = app.make_stoppable

    async def create_bare_room(self: Sfu, name: str, **settings: object) -> None:
        settings.pop("metadata", None)
        await create_room(self, name, **settings)  # type: ignore[arg-type]  # the same keywords

    def make_respelled(config):  # type: ignore[no-untyped-def]  # as the original
        inner, stop = make_stoppable(config)
        return Respelled(inner), stop

    Sfu.create_room = create_bare_room  # type: ignore[method-assign]
    Sfu.set_metadata = _no_metadata  # type: ignore[method-assign]
    Sfu.send_data = _no_data  # type: ignore[method-assign]
    app.make_stoppable = make_respelled
    return engine_main.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
