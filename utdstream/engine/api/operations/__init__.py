"""Every operation of the REST interface: one file for each family, with its schemas.

Owns: the table that the server and the OpenAPI document are made from. What is not here is not served, and what is
served is described. Pure; the paths come from `_wire.routes`.
"""

from __future__ import annotations

from utdstream.engine.api.operations import (
    bans,
    calls,
    keys,
    pairings,
    people,
    project,
    rooms,
    seats,
    stage,
    withdrawal,
)
from utdstream.engine.api.operations.table import Operation
from utdstream.engine.api.schemas import SHARED, Schema

_FAMILIES = (project, calls, rooms, people, bans, keys, pairings, seats, stage, withdrawal)

OPERATIONS: tuple[Operation, ...] = tuple(
    operation for family in _FAMILIES for operation in family.OPERATIONS
)
SCHEMAS: dict[str, Schema] = SHARED | {
    name: schema for family in _FAMILIES for name, schema in family.SCHEMAS.items()
}
