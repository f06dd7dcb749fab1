"""The smallest server that could keep a seat: one Starlette route, one check-and-set in SQLite.

    python -m benchmarks.bare_handler PORT DATABASE

What the engine is compared with by `benchmarks.engine`: the same uvicorn, the same database settings, and
nothing that the engine is for (no credentials, no rules, no room, no messages).
"""

from __future__ import annotations

import json
import sqlite3
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(database: str) -> Starlette:
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE seats (room TEXT, seat INTEGER, who TEXT, PRIMARY KEY (room, seat))")

    async def seat(request: Request) -> Response:
        wanted = json.loads(await request.body())
        place = (wanted["room"], wanted["seat"])
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT who FROM seats WHERE room = ? AND seat = ?", place).fetchone()
        who = wanted["who"] if row is None or row[0] is None else None
        db.execute("INSERT OR REPLACE INTO seats (room, seat, who) VALUES (?, ?, ?)", (*place, who))
        db.execute("COMMIT")
        body = json.dumps({"ok": True, "seat": wanted["seat"], "who": who}).encode()
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/seat", seat, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(
        app(sys.argv[2]), port=int(sys.argv[1]), http="h11", ws="none", loop="asyncio", log_config=None,
        access_log=False, timeout_keep_alive=75,
    )  # fmt: skip
