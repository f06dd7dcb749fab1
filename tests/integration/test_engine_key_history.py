"""Keys are added, revoked and rotated while everybody works: what is revoked is worth nothing from then on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from engine_site import Site, people_of
from facts import eventually
from history import LOST, Wire, run_clients
from history_clients import NAMES, Crowd, arena, second
from key_guests import HALL, Guest, Listener, Reader
from key_history import TURNED_AWAY, Change, KeyedWire, Keyring, check_keys
from servers import every_refusal_is_declared

from utdstream._wire import routes
from utdstream.engine.rules.rooms import EMPTY_ROOM_TIMEOUT_S
from utdstream.engine.stack import ready
from utdstream.models import MqttLogin
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPERATIONS = int(os.environ.get("UTD_KEY_OPERATIONS", "4000"))
OPERATIONS_A_CHANGE = 50
READERS, LISTENERS = 8, 4
RIGHT_WITHIN_S = 1.0
MARGIN = 5


@pytest.fixture
def closed_stack(programs: None) -> Iterator[LocalStack]:
    """A stack without the open key, whose calls ring longer than the test lasts."""
    project = {"call_ring_timeout_s": 600.0, "max_participants_per_room": 100}
    with LocalStack(open_key=False, project=project) as stack:
        yield stack
        every_refusal_is_declared(stack)


class Place:
    """The stack with its keys, and how it is asked."""

    def __init__(self, stack: LocalStack, seed: str) -> None:
        self.stack = stack
        self.ring = Keyring()
        self.guests: list[Guest] = [
            *(Reader(f"reader-{number}") for number in range(READERS)),
            *(Listener(f"listener-{number}") for number in range(LISTENERS)),
        ]
        self._wires: list[Wire] = []
        self.server = self.wire(**{routes.HEADER_APP_SECRET: stack.app_secret})
        self.changes: Counter[str] = Counter()
        self._dice = random.Random(f"{seed}-keys")
        guests = [guest.identity for guest in self.guests]
        self._names = [*NAMES, *map(second, NAMES), *3 * guests]
        for name in {*self._names}:
            self.ring.add(self.server, name)

    def wire(self, **headers: str) -> Wire:
        app_id = {routes.HEADER_APP_ID: self.stack.app_id}
        self._wires.append(Wire(self.stack.base_url, {**app_id, **headers}, threading.Event()))
        return self._wires[-1]

    def close(self) -> None:
        for guest in self.guests:
            guest.leave()
        for wire in self._wires:
            wire.close()

    def change_a_key(self) -> None:
        """One more, one less, or a new one in the place of an old one."""
        identity = self._dice.choice(self._names)
        live = self.ring.live(identity)
        kind = self._dice.choice(("add", "revoke", "rotate", "rotate")) if live else "add"
        if kind != "revoke":
            self.ring.add(self.server, identity)
        if kind != "add":
            self.ring.revoke(self.server, self._dice.choice(live).id)
        self.changes[kind] += 1

    def kill_the_engine_in_a_change(self) -> None:
        """With -9; it is started again."""
        changer = threading.Thread(target=self.change_a_key, name="changer")
        changer.start()
        self.stack.kill("engine")
        self.stack.start("engine")
        changer.join()

    def rotate_the_token_secret(self) -> None:
        """As `utdstream engine rotate` does: all user tokens and broker passwords end."""
        running = self.stack._running()
        made = dataclasses.replace(running.settings.secrets, token_secret=secrets.token_hex(32))
        sent = time.monotonic()
        running.renew(dataclasses.replace(running.settings, secrets=made))
        self.ring.changes.append(Change("", sent, time.monotonic(), 200))

    def wrong_guests(self) -> list[str]:
        """Those who are there without a key, or not there in spite of one."""
        in_the_hall = people_of(self.stack, f"p{self.stack.app_id}_{HALL}")
        found = []
        for guest in self.guests:
            is_there = guest.identity in in_the_hall if isinstance(guest, Listener) else guest.is_in()
            if is_there is not (guest.key is not None and self.ring.is_live(guest.key.id)):
                found.append(f"{guest.identity} is {'there' if is_there else 'not there'}")
        return found

    def wrong_logins(self) -> list[str]:
        """The broker logins, of all that were ever given, that are otherwise than their keys."""
        newest = {one.login: one for one in self.ring.passes if one.login is not None}
        found = []
        for login, given in newest.items():
            is_right = self.ring.is_live(given.key.id)  # whatever became of the token secret
            if _lets_in(login) is not is_right:
                found.append(f"{given.key} is {'refused' if is_right else 'let in'}")
        return found


def _lets_in(login: MqttLogin) -> bool:
    """Whether the broker takes this login."""
    with socket.create_connection((login.host, login.port), timeout=5) as connection:
        name = f"try-{secrets.token_hex(6)}"
        connection.sendall(ready._connect_packet(name, login.username, login.password))
        answer = connection.recv(4)
    return len(answer) == 4 and answer[3] == 0


def _change_all_the_time(place: Place, crowd: Crowd) -> None:
    """One change of a key for so many operations; a kill after a quarter and a half, then a new secret."""
    rounds = OPERATIONS // OPERATIONS_A_CHANGE
    for number in range(1, rounds + 1):
        assert crowd.recorder.wait_for(number * OPERATIONS_A_CHANGE, within_s=120), "too slow"
        if number in (rounds // 4, rounds // 2):
            place.kill_the_engine_in_a_change()
        elif number == rounds * 3 // 4:
            place.rotate_the_token_secret()
        else:
            place.change_a_key()


@pytest.mark.timeout(900)
def test_keys_when_revoked_while_everybody_works_are_worth_nothing_from_then_on(
    closed_stack: LocalStack,
) -> None:
    """Random operations, two kills -9 and a new secret between: no success by a key that had ended before."""
    stack = closed_stack
    seed = os.environ.get("UTD_HISTORY_SEED") or f"{random.SystemRandom().randrange(2**32)}"
    print(f"the seed is {seed} (UTD_HISTORY_SEED)")  # noqa: T201  # pytest shows it with a failure
    site, place = Site(stack), Place(stack, seed)
    ring = place.ring
    arenas = [arena(site.server(), number) for number in range(6)]
    hall = {"identity": "host", "room_name": HALL, "type": "live_stream", "role": "host"}
    assert site.server().ask("POST", routes.TOKEN, hall).status_code == 200
    secret = {routes.HEADER_APP_SECRET: stack.app_secret}
    crowd = Crowd(
        arenas, seed, lambda who: KeyedWire(place.wire(), who, ring, seed), lambda: place.wire(**secret)
    )
    stop, anyone = threading.Event(), place.wire()
    threads = run_clients([lambda one=guest: one.live(place.wire(), ring, stop) for guest in place.guests])
    began = time.monotonic()
    crowd.start()
    try:
        _change_all_the_time(place, crowd)
    finally:
        crowd.stop()
        stop.set()
        for thread in threads:
            thread.join(30)
    try:
        for guest in place.guests:
            guest.come_back(anyone, ring)
        ring.settle(place.server)
        for guest in place.guests[::2]:
            if guest.key is not None and ring.is_live(guest.key.id):
                ring.revoke(place.server, guest.key.id)
        quiet = time.monotonic()
        with contextlib.suppress(AssertionError):
            eventually(
                lambda: not place.wrong_guests(), "all are there by their keys", MARGIN * RIGHT_WITHIN_S
            )
        took_s = time.monotonic() - quiet
        assert place.wrong_guests() == []
        wrong = place.wrong_logins()
    finally:
        place.close()
        site.close()
    done = crowd.recorder.operations
    reached = [op for op in done if op.code not in TURNED_AWAY]
    codes = Counter(op.code for op in reached if op.code)
    violations = check_keys(ring.uses, ring.changes)
    if (
        quiet - began < EMPTY_ROOM_TIMEOUT_S
    ):  # on a slower machine the rooms, which nobody is in, end meanwhile
        violations += crowd.room_violations(reached)
    print(  # noqa: T201
        f"{len(done)} operations, {len(ring.uses)} uses of {len(ring.passes)} passes,"
        f" {sum(use.is_turned_away for use in ring.uses)} turned away; keys: {dict(place.changes)};"
        f" rights as the keys {took_s:.2f} s after quiet"
    )
    assert not violations, "\n".join(violations[:10])
    assert wrong == []
    assert any(op.status is LOST for op in done), "the kills hit nobody"
    assert any(use.is_turned_away for use in ring.uses), "nobody was ever turned away"
    assert not {"internal", "unavailable", "rate_limited"} & {*codes}
