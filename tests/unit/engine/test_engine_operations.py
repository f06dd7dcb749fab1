"""Every operation of the table has a handler, every handler an operation, and a refusal stands in its row."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from utdstream._wire import routes
from utdstream.engine import config
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.api.seats import SeatHandlers
from utdstream.engine.api.server import make_app
from utdstream.engine.app import Engine
from utdstream.engine.rules.refusals import Refusal


def handlers(folder: Path) -> dict[str, Handler]:
    """The handlers of an engine that was put together and not opened."""
    settings = config.EngineConfig(
        engine=config.EngineSection(database=str(folder / "engine.db"), token_secret="ts"),
        project=config.ProjectSection(app_id="1234567890", app_key="key", app_secret="secret"),
        livekit=config.LiveKitSection(api_key="lk", api_secret="livekit-secret-of-at-least-32-bytes"),
    )

    async def put_together() -> dict[str, Handler]:
        engine = Engine(settings)
        try:
            return engine.handlers()
        finally:
            await engine.close()

    return asyncio.run(put_together())


def test_operations_when_the_engine_is_put_together_are_all_handled(tmp_path: Path) -> None:
    """And nothing is handled that the table does not have."""
    assert set(handlers(tmp_path)) == {operation.id for operation in OPERATIONS}


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("swap_seats", None, "no handler for swap_seats"),
        ("fly", "leave_seat", "no operation has the id fly"),
    ],
)
def test_engine_when_a_handler_and_the_table_differ_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str | None, words: str
) -> None:
    """The sentence names the operation; it was a 500 to the first client that asked for it."""
    whole = SeatHandlers.handlers

    def differing(self: SeatHandlers) -> dict[str, Handler]:
        made = dict(whole(self))
        handler = made.pop(name, None) or made[str(found)]
        return made if found is None else {**made, name: handler}

    monkeypatch.setattr(SeatHandlers, "handlers", differing)
    with pytest.raises(RuntimeError, match=words):
        handlers(tmp_path)


@pytest.mark.parametrize(("code", "told"), [("seat_locked", True), ("internal", False)])
def test_refusal_when_its_row_does_not_name_the_code_is_logged_as_an_error(
    caplog: pytest.LogCaptureFixture, code: str, told: bool
) -> None:
    """The client gets its answer all the same; the log says which row lacks which code."""

    async def refuse(ask: Ask) -> Answer:
        raise Refusal(code, "no")

    async def ask_health() -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        app = make_app({"health": refuse}, lambda: None, lambda body, name: True, None)  # type: ignore[arg-type,return-value]
        path = routes.HEALTH
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
        await app({**scope, "query_string": b"", "app": Starlette()}, receive, send)
        return int(sent[0]["status"])

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(ask_health()) >= 400
    assert [record.getMessage() for record in caplog.records] == (
        [f"health refused with {code}, a code that its row in api/operations/ does not name"] if told else []
    )
