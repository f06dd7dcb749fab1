"""Server-sent events: call events as a browser's `EventSource` reads them.

Owns: the bytes of a stream and its life: heartbeat, end, a reader that went away. Runs on the loop
thread. Which events there are is said by `call_events`.

1. Each event is one `data` line, the same JSON as over MQTT, and its number as `id`: a browser that
   reconnects sends it back as `Last-Event-ID`.
2. A stream ends after an hour, so that its reader is checked again; the browser comes back by itself.
3. It ends at once when the engine stops: a stream must not hold up a shutdown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from utdstream._wire import messages
from utdstream._wire.messages import CallEvent
from utdstream.engine.push.call_events import Reader

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_S = 15.0
LONGEST_S = 3600.0
RETRY_MS = 2000
"""How long a browser whose stream ended waits before it comes back."""
_LAST_WORD_S = 0.5
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy such as nginx would keep events back
]


def encode(event: CallEvent) -> bytes:
    """One event of the stream. JSON holds no raw line break, so one `data` line is enough."""
    return b"id: %d\ndata: %b\n\n" % (event.seq, messages.encode_call_event(event))


class EventStream(Response):
    """The answer that goes on until the reader leaves or `stream.closed` is set."""

    media_type = MEDIA_TYPE

    def __init__(self, stream: Reader, when_over: Callable[[Reader], None]) -> None:
        super().__init__()
        self._stream = stream
        self._when_over = when_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends events until the reader leaves, the stream is closed, or an hour is over."""
        gone = asyncio.create_task(_wait_for_leaving(receive))
        tasks = [
            gone,
            asyncio.create_task(self._pump(send)),
            asyncio.create_task(self._stream.closed.wait()),
        ]
        try:
            await asyncio.wait(tasks, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._when_over(self._stream)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if gone.cancelled():
            await self._say_goodbye(send)

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    event = await self._stream.next()
            except TimeoutError:
                await _send(send, b": still here\n\n")
            else:
                await _send(send, encode(event))

    async def _say_goodbye(self, send: Send) -> None:
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await _send(send, b"", is_last=True)
        except (TimeoutError, OSError, RuntimeError):
            return  # the reader does not read: the server drops the connection


async def _send(send: Send, body: bytes, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


async def _wait_for_leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
