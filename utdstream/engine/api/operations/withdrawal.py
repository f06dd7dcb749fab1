"""The operation that takes a request back."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import Access, Operation
from utdstream.engine.api.schemas import OK, TEXT, Schema, object_of
from utdstream.limits import MAX_IDEMPOTENCY_KEY

WITHDRAW = "withdraw"
UNDONE, NOT_DONE, STANDS = OUTCOMES = ("undone", "not_done", "stands")

OPERATIONS = (
    Operation(
        WITHDRAW,
        "POST",
        routes.WITHDRAWAL,
        "Take back a request whose answer was lost, by its Idempotency-Key, which is refused from then on",
        Access.USER,
        "Withdrawn",
        request="Withdrawal",
    ),
)

SCHEMAS: dict[str, Schema] = {
    "Withdrawal": object_of({"idempotency_key": {**TEXT, "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY}}),
    "Withdrawn": object_of(
        {
            "ok": OK,
            "outcome": {
                "enum": list(OUTCOMES),
                "description": "undone: what was done is taken back. not_done: the engine knows of nothing that"
                " was done. stands: it was done and cannot be taken back, or something newer was decided.",
            },
        }
    ),
}
