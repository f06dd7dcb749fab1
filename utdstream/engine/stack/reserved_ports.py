"""All ports of one stack, held until its programs bind them.

Owns: which ports are chosen for a stack whose settings leave some open. Any thread. Imports the stack's settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from utdstream.engine.stack.ports import PORT_KINDS, Part, Reservation, reserve
from utdstream.engine.stack.settings import StackSettings, port_names


def reserve_ports(wanted: StackSettings) -> tuple[StackSettings, dict[Part, list[Reservation]]]:
    """The settings with every port filled in, and each part's ports, held. Raises: PortTaken."""
    held: dict[Part, list[Reservation]] = {part: [] for part in wanted.parts}
    numbers: dict[str, int] = {}
    try:
        for name in port_names(wanted):
            part, kind = PORT_KINDS[name]
            reservation = reserve(kind, wanted.host_of(name), getattr(wanted.ports, name))
            held[part].append(reservation)
            numbers[name] = reservation.port
    except BaseException:
        for reservation in all_of(held):
            reservation.release()
        raise
    ports = dataclasses.replace(wanted.ports, **numbers)
    return dataclasses.replace(wanted, ports=ports), held


def all_of(held: dict[Part, list[Reservation]]) -> Iterator[Reservation]:
    """The ports of all parts."""
    for reservations in held.values():
        yield from reservations
