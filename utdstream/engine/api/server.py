"""HTTP: from bytes to an operation of the table, and back.

Owns: bodies, error answers, dispatch. Runs on the loop thread (Starlette on
uvicorn). Knows no rule of calls or rooms.

1. Every answer is JSON; every refusal has `message` and `code`. Nothing of an unexpected error goes
   out: a 500 says that it happened, the log says what.
2. A path is split before it is decoded, so that an identity may hold a slash. Starlette reads the request
   and writes the answer; its router and its layers, which do nothing here, stay out of the way.
3. No credential is logged, and no query either: one operation takes a user token there.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from utdstream._wire import answers, pairing, routes
from utdstream.engine import clock
from utdstream.engine.api import bodies
from utdstream.engine.api.connections import CAME_FROM, SIGN_IN
from utdstream.engine.api.fields import Fields, Query, checked_name, checked_text
from utdstream.engine.api.gate import Gate, address_of
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.operations.table import Access, Operation, codes_of
from utdstream.engine.api.paths import Paths
from utdstream.engine.api.request import Ask, Asker, Handler
from utdstream.engine.config import WEBHOOK_PATH
from utdstream.engine.rules.refusals import STATUS_OF_CODE, Refusal
from utdstream.engine.store.contract import StoreFailed
from utdstream.limits import MAX_IDEMPOTENCY_KEY

HEADER_LAST_EVENT_ID = "Last-Event-ID"
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0
_NO_STORE = (b"cache-control", b"no-store")
_TIME = routes.HEADER_TIME.lower().encode()
UNDECLARED_CODE = "%s refused with %s, a code that its row in api/operations/ does not name"

_log = logging.getLogger(__name__)


def make_app(
    handlers: Mapping[str, Handler],
    gate: Callable[[], Gate],
    webhook: Callable[[str, str], bool],
    lifespan: Lifespan[Starlette],
) -> ASGIApp:
    """The application: every operation of the table, and the media server's webhook."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    paths = Paths(
        {
            **{path: _endpoint(operations, handlers, gate) for path, operations in by_path.items()},
            WEBHOOK_PATH: _webhook_endpoint(webhook),
            pairing.FRAGMENT_PATH: _no_page,
        }
    )
    beginning_and_end = Starlette(lifespan=lifespan)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await beginning_and_end(scope, receive, send)
            return
        came_from = scope.get("state", {}).get(CAME_FROM)
        if came_from is not None:
            came_from(scope["client"][0])
        found = paths.find(scope["raw_path"].partition(b"?")[0].decode("latin-1"))
        if found is None:
            response = error_response(Refusal("not_found", "No operation has this path"))
        else:
            endpoint, scope["path_params"] = found
            response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return app


def _endpoint(
    operations: Mapping[str, Operation], handlers: Mapping[str, Handler], gate: Callable[[], Gate]
) -> Callable[[Request], Awaitable[Response]]:
    allowed = ", ".join(sorted(operations))

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = operations.get(method)
        if operation is None or (operation.is_stream and request.method == "HEAD"):
            refusal = Refusal("method_not_allowed", "This path does not take this method")
            return error_response(refusal, {"Allow": allowed})
        try:
            ask = await _ask(request, operation, gate())
            answer = await handlers[operation.id](ask)
        except Refusal as refusal:
            if refusal.code not in codes_of(operation):
                _log.error(UNDECLARED_CODE, operation.id, refusal.code)
            return error_response(refusal)
        except ClientDisconnect:
            return error_response(Refusal("request_timeout", "The client went away"))
        except StoreFailed:
            _log.exception("%s: the database failed", operation.id)
            return error_response(Refusal("unavailable", "The database failed; try again", retry_after_s=1))
        except Exception:  # noqa: BLE001  # the outermost frame of a request
            _log.exception("%s failed", operation.id)
            return error_response(Refusal("internal", "The engine failed; its log says why"))
        return answer if isinstance(answer, Response) else _json_response(answer.status, answer.body)

    return endpoint


async def _ask(request: Request, operation: Operation, gate: Gate) -> Ask:
    if operation.access is Access.PUBLIC:
        return Ask(Asker(), {}, Query({}), Fields({}), None)
    if operation.access is Access.CODE:
        gate.count_pairing(request)
        return await _read(request, operation, Asker())
    asker = gate.asker(request, operation.access, in_query=operation.is_stream)
    sign_in = request.scope.get("state", {}).get(SIGN_IN)
    if sign_in is not None:
        sign_in(asker.holder)
    ask = await _read(request, operation, asker)
    gate.check_key(ask, request, mints=operation.access is Access.MINT)
    if operation.access is Access.MINT:
        gate.count_mint(ask)
    else:
        gate.count(ask)
        if operation.is_kept:
            gate.count_call(ask)
    return ask


async def _read(request: Request, operation: Operation, asker: Asker) -> Ask:
    raw = b"" if operation.method == "GET" else await _body(request)
    body = bodies.read(raw)
    return Ask(
        asker,
        {name: _segment(raw, name) for name, raw in request.path_params.items()},
        Query(request.query_params if request.scope["query_string"] else {}),
        Fields(body),
        _key(request.headers.get(routes.HEADER_IDEMPOTENCY_KEY)),
        request.headers.get(HEADER_LAST_EVENT_ID),
        address_of(request),
        hash(raw),
    )


async def _body(request: Request) -> bytes:
    too_large = Refusal("payload_too_large", f"The body must have at most {MAX_BODY_BYTES} bytes")
    length = request.headers.get("content-length", "")
    if length == "0":
        return b""
    if length.isdigit() and int(length[:12]) > MAX_BODY_BYTES:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise Refusal("request_timeout", "The body did not arrive in time") from None
    return bytes(raw)


def _segment(raw: str, name: str) -> str:
    try:
        text = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal("validation_failed", f"{name} in the path is not UTF-8") from None
    return checked_name(text, name)  # a room may be called as no identity may


def _key(value: str | None) -> str | None:
    return checked_text(value, routes.HEADER_IDEMPOTENCY_KEY, longest=MAX_IDEMPOTENCY_KEY) if value else None


def _webhook_endpoint(webhook: Callable[[str, str], bool]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        if not (peer.startswith("127.") or peer in ("::1", "::ffff:127.0.0.1")):
            return error_response(Refusal("not_found", "No operation has this path"))
        if request.method != "POST":
            return error_response(Refusal("method_not_allowed", "POST only"), {"Allow": "POST"})
        try:
            body = (await _body(request)).decode("utf-8")
        except Refusal as refusal:
            return error_response(refusal)
        except (UnicodeDecodeError, ClientDisconnect):
            return error_response(Refusal("validation_failed", "The body is not a webhook"))
        if not webhook(body, request.headers.get("Authorization", "")):
            return error_response(
                Refusal("invalid_credentials", "The webhook is not signed by this engine's media server")
            )
        return _json_response(200, {"ok": True})

    return endpoint


async def _no_page(request: Request) -> Response:
    """The address that a pairing code comes with, opened in a browser; the code behind its # is not sent."""
    return error_response(
        Refusal(
            "not_found",
            "This address is for a device, not for a browser: run `utdstream pair` or `sudo utd-device pair`"
            " there, with the whole address in quotes",
        )
    )


def error_response(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The answer of a refusal, with `Retry-After` where there is a time to wait."""
    body = answers.error_to_json(
        refusal.message, refusal.code, retry_after_s=refusal.retry_after_s, details=refusal.details
    )
    response = _json_response(refusal.status, body)
    response.headers.update(headers or {})
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.status == STATUS_OF_CODE["missing_credentials"]:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json_response(status: int, body: Mapping[str, object]) -> Response:
    response = Response(bodies.written(body), status, media_type="application/json")
    response.raw_headers += _NO_STORE, (_TIME, b"%d" % clock.now_ms())
    return response
