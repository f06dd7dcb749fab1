"""The OpenAPI document, made from the table of operations.

Owns: parameters, credentials, responses. Pure. The schemas stand beside the operations; what the server refuses,
with which status and code, comes from the same tables the server uses.
"""

from __future__ import annotations

import re
from functools import cache

from utdstream._wire import routes
from utdstream.engine.api.operations import OPERATIONS, SCHEMAS
from utdstream.engine.api.operations.calls import SPELLINGS
from utdstream.engine.api.operations.table import Access, Operation, codes_of
from utdstream.engine.api.schemas import NUMBER, TEXT, Schema, ref
from utdstream.engine.rules import rooms
from utdstream.engine.rules.refusals import STATUS_OF_CODE
from utdstream.limits import MAX_IDEMPOTENCY_KEY, MAX_PAGE, MAX_PER_PAGE

_QUERY: dict[str, Schema] = {
    "status": {"type": "string", "description": "Call states, separated by commas."},
    "type": {"type": "string", "enum": SPELLINGS},
    "identity": TEXT,
    "app_id": {"type": "string", "description": "For a client that cannot set X-App-Id."},
    "access_token": {
        "type": "string",
        "description": "The user token, for a client that cannot set Authorization.",
    },
    "start_date": {"type": "string", "description": "ISO-8601 time, or date: its beginning."},
    "end_date": {"type": "string", "description": "ISO-8601 time, or date: its end."},
    "room_name": TEXT,
    "role": {"type": "string", "enum": list(rooms.ROLES)},
    "page": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": MAX_PER_PAGE, "default": 20},
}
_PATH: dict[str, Schema] = {"index": NUMBER, "request_id": NUMBER, "invitation_id": NUMBER}
_APP_ID, _KEY, _SECRET, _BEARER = "appId", "appKey", "appSecret", "userToken"
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.CODE: [],
    Access.MINT: [{_APP_ID: [], _KEY: []}, {_APP_ID: [], _SECRET: []}],
    Access.ANY: [{_APP_ID: [], name: []} for name in (_KEY, _BEARER, _SECRET)],
    Access.USER: [{_APP_ID: [], name: []} for name in (_BEARER, _SECRET)],
    Access.SECRET: [{_APP_ID: [], _SECRET: []}],
}


@cache
def document() -> dict[str, object]:
    """The OpenAPI 3.1 document. Shared: do not change it."""
    from utdstream import __version__

    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "UTD Stream engine, self-hosted",
            "version": __version__,
            "description": "Calls and rooms on LiveKit. A role in parentheses says whose user token an operation"
            " takes; a server with the app secret may ask for every operation, as any identity.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                _APP_ID: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_ID},
                _KEY: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_KEY},
                _SECRET: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_SECRET},
                _BEARER: {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, object]:
    described: dict[str, object] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": _responses(operation),
        "security": _SECURITY[operation.access],
    }
    parameters = [
        _parameter(name, "path", _PATH.get(name, TEXT)) for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [_parameter(name, "query", _QUERY[name]) for name in operation.query]
    if operation.changes:
        parameters.append(
            _parameter(routes.HEADER_IDEMPOTENCY_KEY, "header", {**TEXT, "maxLength": MAX_IDEMPOTENCY_KEY})
        )
    if operation.is_stream:
        parameters.append(_parameter("Last-Event-ID", "header", TEXT))
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        schema = SCHEMAS[operation.request]
        described["requestBody"] = {
            "required": "required" in schema,
            "content": {"application/json": {"schema": ref(operation.request)}},
        }
    return described


def _parameter(name: str, where: str, schema: Schema) -> dict[str, object]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _responses(operation: Operation) -> dict[str, object]:
    done = _response("Done", operation.answer)
    if operation.is_stream:
        done = _response(
            "A stream of events; the data of each is an object of this schema",
            operation.answer,
            "text/event-stream",
        )
    responses: dict[str, object] = {str(operation.status): done}
    if operation.replay_status is not None:
        responses[str(operation.replay_status)] = _response(
            "The call that this Idempotency-Key made", operation.answer
        )
    by_status: dict[int, list[str]] = {}
    for code in codes_of(operation):
        by_status.setdefault(STATUS_OF_CODE[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        response = _response(", ".join(sorted(codes)), "Error")
        if status in (429, 503):
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        responses[str(status)] = response
    return responses


def _response(description: str, schema: str, media: str = "application/json") -> dict[str, object]:
    return {"description": description, "content": {media: {"schema": ref(schema)}}}
