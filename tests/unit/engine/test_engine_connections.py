"""Open connections: which of them are dropped, and which never."""

from __future__ import annotations

from utdstream.engine.api.connections import HEAD_WITHIN_S, STRANGER_WITHIN_S, Connections


class Line:
    """A connection that notes that it was dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


def opened(connections: Connections, count: int, address: str, now_s: float = 0.0) -> list[Line]:
    lines = [Line() for _ in range(count)]
    for line in lines:
        connections.opened(line, address, now_s)
    return lines


def signed_in(
    connections: Connections, count: int, address: str = "10.0.0.9", holder: str = ""
) -> list[Line]:
    """Connections between two requests, with a credential that was right."""
    lines = []
    for _ in range(count):
        line = Line()
        connections.opened(line, address, 0.0)
        connections.asks(line, 0.0)
        connections.signs_in(line, holder)
        connections.answered(line, 0.0)
        lines.append(line)
    return lines


def dropped(lines: list[Line]) -> int:
    return sum(line.dropped for line in lines)


def test_connection_when_silent_for_the_heads_time_is_dropped() -> None:
    """A connection that says nothing has five seconds, to the second sweep and no longer."""
    connections = Connections(100)
    early, late = opened(connections, 1, "10.0.0.1", 0.0)[0], opened(connections, 1, "10.0.0.1", 1.0)[0]
    connections.sweep(HEAD_WITHIN_S)
    assert (early.dropped, late.dropped, len(connections)) == (True, False, 1)


def test_connection_when_its_head_comes_in_bits_is_dropped_all_the_same() -> None:
    """Bytes that complete no head win no time: neither the first ones nor the next."""
    connections = Connections(100)
    line = opened(connections, 1, "10.0.0.1")[0]
    for second in range(5):
        connections.begins(line, float(second))
    connections.sweep(HEAD_WITHIN_S)
    assert line.dropped


def test_connection_when_it_signed_in_has_the_heads_time_from_the_first_byte() -> None:
    """Between two requests it may rest; from the first byte it has the time of a head."""
    connections = Connections(100)
    line = signed_in(connections, 1)[0]
    connections.sweep(60.0)
    assert not line.dropped
    connections.begins(line, 60.0)
    connections.sweep(60.0 + HEAD_WITHIN_S)
    assert line.dropped


def test_stranger_when_its_request_takes_too_long_is_dropped() -> None:
    """Without a credential, a body that never ends or an answer that nobody reads has its time."""
    connections = Connections(100)
    line = opened(connections, 1, "10.0.0.1")[0]
    connections.asks(line, 0.0)
    connections.sweep(STRANGER_WITHIN_S - 1)
    assert not line.dropped
    connections.sweep(STRANGER_WITHIN_S)
    assert line.dropped


def test_stream_when_it_signed_in_is_never_dropped_while_it_is_answered() -> None:
    """An event stream goes on for an hour, and strangers come meanwhile."""
    connections = Connections(8)
    line = signed_in(connections, 1)[0]
    connections.asks(line, 0.0)
    opened(connections, 100, "10.0.0.1")
    connections.sweep(3000.0)
    assert not line.dropped


def test_strangers_when_one_address_has_too_many_make_room_for_its_newest() -> None:
    """One address has a quarter of the places: its oldest goes, nobody else's."""
    connections = Connections(40)
    other = opened(connections, 5, "10.0.0.2")
    many = opened(connections, 25, "10.0.0.1")
    assert dropped(many[:15]) == 15
    assert dropped(many[15:]) == 0
    assert dropped(other) == 0


def test_strangers_when_many_addresses_have_too_many_leave_half_of_the_places() -> None:
    """The address with the most strangers pays; a newcomer from another address stays."""
    connections = Connections(40)
    for number in range(10):
        opened(connections, 30, f"10.0.1.{number}")
    assert len(connections) == 20
    newcomer = opened(connections, 1, "10.0.0.2")[0]
    for number in range(10):
        opened(connections, 1, f"10.0.1.{number}")
    assert not newcomer.dropped


def test_signed_in_when_strangers_flood_keep_their_places() -> None:
    """What signed in is not closed for those that did not."""
    connections = Connections(40)
    devices = signed_in(connections, 20)
    for number in range(10):
        opened(connections, 500, f"10.0.1.{number}")
    assert dropped(devices) == 0
    assert len(connections) == 40


def test_signed_in_when_every_place_is_taken_give_the_longest_resting_one() -> None:
    """Only between two requests is a connection that signed in closed, the one that rested longest."""
    connections = Connections(40)
    devices = signed_in(connections, 40)
    connections.asks(devices[0], 1.0)
    newcomer = opened(connections, 1, "10.0.0.2")[0]
    assert not newcomer.dropped
    assert [index for index, device in enumerate(devices) if device.dropped] == [1]


def test_strangers_when_they_share_a_network_of_ipv6_count_as_one() -> None:
    """A machine has a whole /64 of addresses; an IPv4 address in IPv6's clothes is itself."""
    connections = Connections(40)
    for number in range(20):
        opened(connections, 1, f"2001:db8::{number:x}")
        opened(connections, 1, "::ffff:10.0.0.1" if number % 2 else "10.0.0.1")
    assert len(connections) == 20


def test_connection_when_closed_twice_or_unknown_changes_nothing() -> None:
    """What was dropped is told of once more by its transport."""
    connections = Connections(4)
    line = opened(connections, 1, "10.0.0.1")[0]
    connections.closed(line)
    connections.closed(line)
    for tell in (connections.signs_in, connections.closed):
        tell(line)
    connections.asks(line, 0.0)
    connections.answered(line, 0.0)
    connections.begins(line, 0.0)
    assert len(connections) == 0
    connections.sweep(100.0)
    assert not line.dropped


def asking_through_a_proxy(connections: Connections, count: int, address: str) -> list[Line]:
    """Requests under way of nobody in particular, which all come from loopback and tell their origin."""
    lines = opened(connections, 0, "127.0.0.1")
    for _ in range(count):
        line = opened(connections, 1, "127.0.0.1")[0]
        connections.asks(line, 0.0)
        connections.came_from(line, address)
        lines.append(line)
    return lines


def test_strangers_when_a_proxy_tells_their_address_are_counted_by_that() -> None:
    """One address has its quarter and no more, whoever else comes through the same proxy; of one that is gone, or
    of the address that is known, it is nothing.
    """
    connections = Connections(100)
    flood = asking_through_a_proxy(connections, 40, "192.0.2.1")
    others = asking_through_a_proxy(connections, 5, "192.0.2.2")
    assert (dropped(flood), dropped(others)) == (15, 0)
    connections.came_from(flood[-1], "192.0.2.3")
    connections.came_from(others[0], "192.0.2.2")
    assert len(connections) == 30


def test_connection_when_its_proxy_gives_it_to_another_client_is_counted_there() -> None:
    """A proxy may keep one connection for several clients: the latest counts, also when it then falls silent."""
    connections = Connections(100)
    line = asking_through_a_proxy(connections, 1, "192.0.2.1")[0]
    connections.answered(line, 1.0)
    connections.asks(line, 2.0)
    connections.came_from(line, "192.0.2.2")
    connections.answered(line, 3.0)
    connections.sweep(3.0 + HEAD_WITHIN_S)
    assert (line.dropped, len(connections)) == (True, 0)


def test_signed_in_when_one_holder_has_too_many_lose_those_that_rest_then_the_oldest() -> None:
    """A key has an eighth of the places and pays for more itself, with what rests before what is under way."""
    connections = Connections(40)
    device = signed_in(connections, 1, holder="door")[0]
    own = signed_in(connections, 5, holder="mallory")
    connections.asks(own[0], 1.0)
    signed_in(connections, 1, holder="mallory")
    assert [line.dropped for line in own] == [False, True, False, False, False]
    for line in own[2:]:
        connections.asks(line, 1.0)
    for _ in range(100):
        line = opened(connections, 1, "10.0.0.9")[0]
        connections.asks(line, 1.0)
        connections.signs_in(line, "mallory")
        assert not line.dropped
    assert len(connections) == 1 + 5
    assert not device.dropped


def test_signed_in_when_another_holder_asks_on_the_connection_is_that_holders() -> None:
    """A client that signs in as another leaves the first one its share; what is closed is nobody's."""
    connections = Connections(8)
    line = signed_in(connections, 1, holder="door")[0]
    connections.signs_in(line, "house")
    again = signed_in(connections, 1, holder="door")[0]
    assert (line.dropped, again.dropped) == (False, False)
    connections.closed(line)
    assert dropped(signed_in(connections, 1, holder="house")) == 0


def test_strangers_when_their_requests_end_leave_their_places_to_their_network() -> None:
    """However a request ends, answered, signed in or cut off, its network has the place again, and no more."""
    connections = Connections(40)
    for _ in range(3):
        lines = opened(connections, 10, "10.0.0.1")
        for line in lines:
            connections.asks(line, 0.0)
        assert dropped(lines) == 0
        late = opened(connections, 1, "10.0.0.1")
        assert dropped(late) == 1, "ten of them are a quarter"
        assert dropped(opened(connections, 1, "10.0.0.2")) == 0
        connections.signs_in(lines[0])
        connections.answered(lines[1], 0.0)
        for line in lines:
            connections.closed(line)
            connections.closed(line)
