"""What every database of the engine must keep, whichever it is: inherited by one test class for each.

The rules that are named are those of `utdstream/engine/store/contract.py`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest

from utdstream._wire.pairing import CodeSecrets
from utdstream.engine.rules import bans, calls
from utdstream.engine.rules.bans import Ban
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.keys import AppKey, KeyTerms, Login
from utdstream.engine.rules.pairing import KEPT_FOR, Pairing
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.room_state import RoomState, SeatState, new_state
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.contract import KEEP_CALLS_S, CallFilter, Presence, Store
from utdstream.models import UTDCallStatus, UTDStreamType

S = UTDCallStatus
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
LOBBY = Room("lobby", UTDStreamType.AUDIO_ROOM, "ann", NOW)


def a_call(
    call_id: str = "call_1", caller: str = "door", callee: str = "house", age_s: float = 0
) -> CallRecord:
    return calls.new_call(
        call_id=call_id,
        type=UTDStreamType.VIDEO_CALL,
        caller=caller,
        callee=callee,
        now=NOW - timedelta(seconds=age_s),
        ring_timeout_s=30.0,
        max_duration_s=60.0,
        caller_name="Tür 🚪",
        metadata={"floor": [1, None, "ü"]},
    )


def a_ban(identity: str = "bob", room: str | None = "lobby", *, lasts_s: int | None = None) -> Ban:
    return Ban(0, identity, room, NOW, bans.end_of(NOW, lasts_s))


def a_key(number: int = 1) -> AppKey:
    return AppKey(
        id=f"key_{number}",
        name="Tür 🚪",
        digest=f"digest {number}",
        identity="kiosk-*",
        may_host=True,
        rooms=("lobby", "show-*"),
        created_at=NOW,
        display_name="Kiosk",
        allow_break_in=("door", "gate-*"),
    )


def seated(identity: str, rev: int = 1) -> RoomState:
    state = new_state(LOBBY)
    return replace(state, rev=rev, seats=(SeatState(identity), *state.seats[1:]))


def ids(records: list[CallRecord]) -> list[str]:
    return sorted(record.call_id for record in records)


def found_in(store: Store, wanted: CallFilter, page: int = 1, per_page: int = 10) -> list[str]:
    return [record.call_id for record in store.calls.page(wanted, page=page, per_page=per_page)[0]]


def a_pairing(number: int = 1) -> Pairing:
    return Pairing(
        secrets=CodeSecrets(f"id {number}", "engine's", "device's"),
        nonce="n",
        terms=KeyTerms("kitchen", "Küche", False, ("lobby", "show-*"), "Die Küche", ("door",)),
        made_under="mark",
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=10),
    )


class StoreContract(ABC):
    """Subclasses say how the one database of this test is opened."""

    @abstractmethod
    def open(self) -> Store:
        """The database of this test, empty at first; opened again it holds what was committed."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = self.open()
        yield store
        store.close()

    # -- transactions

    def test_transaction_when_it_raises_leaves_nothing(self, store: Store) -> None:
        """Rule 1: calls, rooms, states, people, bans, keys and pairings are as if nothing had been written."""

        def write_and_refuse() -> None:
            with store.transaction():
                store.calls.insert(a_call())
                store.rooms.claim(LOBBY)
                store.states.put(LOBBY, seated("bob"))
                store.people.admit("lobby", "bob", "Bob")
                store.bans.put(a_ban())
                store.keys.insert(a_key())
                store.keys.revoke("key_1", NOW)
                store.logins.see(Login("bob"), NOW)
                store.pairings.put(a_pairing())
                raise Refusal("callee_busy", "no")

        with pytest.raises(Refusal):
            write_and_refuse()
        assert store.calls.get("call_1") is None
        assert store.calls.open_of("door") == []
        assert store.rooms.get("lobby") is None
        assert store.states.get(LOBBY) == new_state(LOBBY)
        assert store.people.presence("lobby", "bob") is None
        assert store.bans.of("bob", NOW, room="lobby") == []
        assert store.keys.all() == []
        assert store.logins.of() == []
        assert store.pairings.all() == []
        assert store.keys.by_digest(a_key().digest) is None

    def test_transaction_when_it_raises_leaves_the_memory_as_the_database(self, store: Store) -> None:
        """Rule 1: ended and begun calls and the old state are there, also after another opening."""
        store.rooms.claim(LOBBY)
        store.states.put(LOBBY, seated("ann"))
        store.calls.insert(a_call("call_1", callee="first"))
        store.calls.insert(a_call("call_2", callee="second"))

        def change_and_refuse() -> None:
            with store.transaction():
                store.calls.save(calls.end(a_call("call_1", callee="first"), "door", NOW))
                store.calls.insert(a_call("call_3", callee="third"))
                store.states.put(LOBBY, seated("bob", rev=2))
                store.states.put(LOBBY, seated("cat", rev=3))
                raise Refusal("callee_busy", "no")

        with pytest.raises(Refusal):
            change_and_refuse()
        again = self.open()
        for each in (store, again):
            assert ids(each.calls.open_of("door")) == ["call_1", "call_2"]
            assert each.calls.open_of("third") == []
            assert each.states.get(LOBBY) == seated("ann")
        again.close()

    def test_transaction_when_under_way_reads_its_own_writes(self, store: Store) -> None:
        """Rule 2: what is written is what is read, in every part."""
        with store.transaction():
            store.calls.insert(a_call())
            store.rooms.claim(LOBBY)
            store.states.put(LOBBY, seated("bob"))
            store.people.arrived("lobby", "bob", "Bob")
            ban = store.bans.put(a_ban())
            assert store.calls.get("call_1") == a_call()
            assert ids(store.calls.open_of("door")) == ["call_1"]
            assert store.rooms.get("lobby") == LOBBY
            assert store.states.get(LOBBY) == seated("bob")
            assert store.people.here("lobby") == ["bob"]
            assert store.bans.of("bob", NOW, room="lobby") == [ban]

    def test_transaction_when_the_one_before_raised_works(self, store: Store) -> None:
        """Rule 1: a refusal leaves no transaction open."""
        with pytest.raises(Refusal), store.transaction():
            raise Refusal("callee_busy", "no")
        with store.transaction():
            store.calls.insert(a_call())
        assert store.calls.get("call_1") == a_call()

    def test_commit_when_the_store_is_not_closed_is_in_the_database(self, store: Store) -> None:
        """Rule 4: what a killed engine leaves behind, another opening reads."""
        with store.transaction():
            store.calls.insert(a_call())
            store.rooms.claim(LOBBY)
            store.states.put(LOBBY, seated("bob"))
            store.people.admit("lobby", "bob", "Bob")
            ban = store.bans.put(a_ban())
        again = self.open()
        assert again.calls.get("call_1") == a_call()
        assert again.rooms.all() == [LOBBY]
        assert again.states.get(LOBBY) == seated("bob")
        assert again.people.name("lobby", "bob") == "Bob"
        assert again.bans.of("bob", NOW, room="lobby") == [ban]
        again.close()

    # -- calls

    def test_call_when_the_database_is_opened_again_is_the_same(self, store: Store) -> None:
        """Everything the engine knows of a call comes back, of one that is over too."""
        record = calls.accept(calls.ring(a_call(), "house", NOW), "house", NOW, "key", app_key="key_2")
        record = replace(record, caller_seen=True)
        over = calls.end(a_call("call_2", "x", "y"), "x", NOW)
        for each in (record, over):
            store.calls.insert(each)
        again = self.open()
        assert again.calls.get("call_1") == record
        assert again.calls.get("call_2") == over
        assert again.calls.get("call_3") is None
        assert again.calls.open() == [record]
        again.close()

    def test_open_calls_when_asked_for_by_identity_are_found_from_either_side(self, store: Store) -> None:
        """Until they are over; the room may still exist then."""
        store.calls.insert(a_call())
        assert ids(store.calls.open_of("house")) == ids(store.calls.open_of("door")) == ["call_1"]
        store.calls.save(calls.end(a_call(), "door", NOW))
        assert store.calls.open_of("house") == []
        assert ids(store.calls.with_room()) == ["call_1"]

    def test_two_when_one_answered_the_other_have_talked(self, store: Store) -> None:
        """On either side, until the call is forgotten; a call that was not answered does not count."""
        answered = calls.accept(a_call(age_s=KEEP_CALLS_S + 60), "house", NOW)
        store.calls.insert(replace(calls.end(answered, "door", NOW), room_open=False))
        store.calls.insert(calls.reject(a_call("call_2", caller="stranger"), "house", NOW))
        assert store.calls.have_talked("door", "house")
        assert store.calls.have_talked("house", "door")
        assert not store.calls.have_talked("stranger", "house")
        again = self.open()
        assert again.calls.have_talked("door", "house")
        again.close()
        store.calls.forget_old(NOW)
        assert not store.calls.have_talked("door", "house")

    def test_room_of_a_call_when_closed_is_in_no_list_any_more(self, store: Store) -> None:
        """The call itself stays known."""
        store.calls.insert(calls.end(a_call(), "door", NOW))
        store.calls.room_closed("call_1")
        store.calls.room_closed("call_unknown")
        assert store.calls.with_room() == []
        found = store.calls.get("call_1")
        assert found is not None
        assert not found.room_open

    def test_key_when_used_twice_finds_the_newest_call_of_its_caller_only(self, store: Store) -> None:
        """Another caller's call with the same key is not found."""
        store.calls.insert(a_call("call_1", age_s=9), "key")
        store.calls.insert(a_call("call_2"), "key")
        store.calls.insert(a_call("call_3", caller="other"), "key")
        found = store.calls.by_key("door", "key")
        assert found is not None
        assert found.call_id == "call_2"
        assert store.calls.by_key("door", "none") is None

    def test_pages_of_calls_when_filtered_are_newest_first(self, store: Store) -> None:
        """Rule 3; a page beyond the last is empty, and the number is of all that match."""
        for number in range(5):
            store.calls.insert(a_call(f"call_{number}", callee=f"house{number % 2}", age_s=10 * number))
        store.calls.save(calls.end(a_call("call_4", callee="house0", age_s=40), "door", NOW))

        def found(wanted: CallFilter, page: int = 1, per_page: int = 10) -> tuple[list[str], int]:
            records, total = store.calls.page(wanted, page=page, per_page=per_page)
            return [record.call_id for record in records], total

        assert found(CallFilter()) == (["call_0", "call_1", "call_2", "call_3", "call_4"], 5)
        assert found(CallFilter(), 2, 2) == (["call_2", "call_3"], 5)
        assert found(CallFilter(), 4, 2) == ([], 5)
        assert found(CallFilter(statuses=(S.ENDED,))) == (["call_4"], 1)
        assert found(CallFilter(identity="house1")) == (["call_1", "call_3"], 2)
        assert found(CallFilter(identity="house1", peer="stranger")) == ([], 0)
        assert found(CallFilter(type=UTDStreamType.AUDIO_CALL)) == ([], 0)
        assert found(CallFilter(created_from=NOW - timedelta(seconds=15))) == (["call_0", "call_1"], 2)
        assert found(CallFilter(created_until=NOW - timedelta(seconds=35))) == (["call_4"], 1)

    def test_page_of_open_calls_when_there_is_a_history_is_that_of_the_filter(self, store: Store) -> None:
        """Rule 3, for open states alone too: what each filter asks for, in order, also after another opening."""
        for number in range(6):
            store.calls.insert(
                a_call(f"call_{number}", callee=f"house{number % 2}", age_s=10 * (number // 2))
            )

        def end_and_refuse() -> None:
            with store.transaction():
                store.calls.save(calls.end(a_call("call_0", callee="house0"), "door", NOW))
                raise Refusal("callee_busy", "no")

        with pytest.raises(Refusal):
            end_and_refuse()
        store.calls.save(calls.ring(a_call("call_1", callee="house1"), "house1", NOW))
        store.calls.save(calls.accept(a_call("call_2", callee="house0", age_s=10), "house0", NOW))
        store.calls.save(calls.end(a_call("call_3", callee="house1", age_s=10), "door", NOW))
        again = self.open()
        for each in (store, again):
            found = partial(found_in, each)
            rings = (S.INITIATING, S.RINGING)
            assert found(CallFilter(rings)) == ["call_1", "call_0", "call_5", "call_4"]
            assert found(CallFilter(rings), 2, 3) == ["call_4"]
            assert found(CallFilter((S.ACTIVE,))) == ["call_2"]
            assert found(CallFilter((S.RINGING, S.ENDED))) == ["call_1", "call_3"]
            assert found(CallFilter(rings, identity="house1", peer="house1")) == ["call_1", "call_5"]
            assert found(CallFilter(rings, peer="house1", identity="door")) == ["call_1", "call_5"]
            assert found(CallFilter(rings, identity="house1", peer="house0")) == []
            assert found(CallFilter(rings, type=UTDStreamType.AUDIO_CALL)) == []
            assert found(CallFilter(rings, created_from=NOW)) == ["call_1", "call_0"]
            assert found(CallFilter(rings, created_until=NOW - timedelta(seconds=15))) == ["call_5", "call_4"]
            assert found(CallFilter(())) == []
        again.close()

    def test_page_when_calls_are_of_one_moment_has_the_last_inserted_first(self, store: Store) -> None:
        """Rule 3."""
        for number in range(3):
            store.calls.insert(a_call(f"call_{number}", callee=f"house{number}"))
        records, _ = store.calls.page(CallFilter(), page=1, per_page=10)
        assert [record.call_id for record in records] == ["call_2", "call_1", "call_0"]

    def test_old_calls_when_forgotten_go_and_open_ones_never(self, store: Store) -> None:
        """An open call is kept however old it is."""
        old = a_call("call_1", age_s=KEEP_CALLS_S + 1)
        store.calls.insert(replace(calls.end(old, "door", NOW), room_open=False))
        store.calls.insert(a_call("call_2", age_s=KEEP_CALLS_S + 1))
        store.calls.forget_old(NOW)
        assert store.calls.get("call_1") is None
        assert store.calls.get("call_2") is not None

    def test_moment_when_written_down_is_there_at_the_next_opening(self, store: Store) -> None:
        """The newest one alone; before the first there is none."""
        assert store.moments.last_seen() is None
        store.moments.saw(NOW)
        store.moments.saw(NOW + timedelta(hours=1))
        again = self.open()
        assert again.moments.last_seen() == NOW + timedelta(hours=1)
        again.close()

    # -- rooms, their states, their people

    def test_room_when_claimed_again_keeps_its_first_owner(self, store: Store) -> None:
        """And its first type and birth."""
        nobody = Room("hall", UTDStreamType.LIVE_STREAM, None, NOW)
        assert store.rooms.claim(nobody).owner is None
        assert store.rooms.claim(replace(nobody, owner="ann")).owner == "ann"
        third = store.rooms.claim(replace(nobody, owner="bob", created_at=NOW + timedelta(seconds=1)))
        assert third == replace(nobody, owner="ann")
        assert store.rooms.all() == [third]

    def test_room_when_its_claim_or_end_is_taken_back_is_as_before(self, store: Store) -> None:
        """Also where it was read meanwhile."""

        def fail_after(change: Callable[[], object]) -> None:
            with store.transaction():
                change()
                assert store.rooms.get(LOBBY.name) != before
                raise KeyError

        for change in (lambda: store.rooms.claim(LOBBY), lambda: store.rooms.delete(LOBBY.name)):
            before = store.rooms.get(LOBBY.name)
            with pytest.raises(KeyError):
                fail_after(change)
            assert store.rooms.get(LOBBY.name) == before
            store.rooms.claim(LOBBY)

    def test_rooms_when_listed_are_newest_first(self, store: Store) -> None:
        """Rule 3."""
        for number in range(3):
            store.rooms.claim(
                Room(f"r{number}", UTDStreamType.LIVE_STREAM, None, NOW + timedelta(seconds=number % 2))
            )
        assert [room.name for room in store.rooms.all()] == ["r1", "r2", "r0"]

    def test_room_when_deleted_takes_state_and_people_with_it(self, store: Store) -> None:
        """Made again, later, it begins anew; others are not touched."""
        hall = replace(LOBBY, name="hall")
        for room in (LOBBY, hall):
            store.rooms.claim(room)
            store.states.put(room, seated("bob"))
            store.people.arrived(room.name, "bob", "Bob")
        store.rooms.delete("lobby")
        again = store.rooms.claim(replace(LOBBY, created_at=NOW + timedelta(seconds=1)))
        assert store.states.get(again) == new_state(again)
        assert store.people.presence("lobby", "bob") is None
        assert store.states.watched() == ["hall"]
        assert store.people.here("hall") == ["bob"]

    def test_state_when_the_database_is_opened_again_is_the_same(self, store: Store) -> None:
        """Of a room that nobody set up too: that is not written."""
        store.rooms.claim(LOBBY)
        assert store.states.get(LOBBY) == new_state(LOBBY)
        state = replace(seated("bob"), muted=frozenset({"bob"}), roles={"cat": "admin"}, metadata={"ü": [1]})
        store.states.put(LOBBY, state)
        again = self.open()
        assert again.states.get(LOBBY) == state
        again.close()

    def test_room_when_somebody_holds_a_seat_is_watched(self, store: Store) -> None:
        """And no longer when the seat is empty."""
        store.rooms.claim(LOBBY)
        store.states.put(LOBBY, seated("bob"))
        assert store.states.watched() == ["lobby"]
        store.states.put(LOBBY, replace(new_state(LOBBY), rev=2))
        assert store.states.watched() == []

    def test_presence_when_a_participant_comes_and_goes_follows(self, store: Store) -> None:
        """Admitted, here, left, admitted again; a stranger who departs is not written down."""
        people = store.people
        assert people.presence("lobby", "bob") is None
        people.departed("lobby", "bob")
        assert people.presence("lobby", "bob") is None
        steps: tuple[tuple[Callable[[], object], Presence], ...] = (
            (lambda: people.admit("lobby", "bob", None), Presence.ADMITTED),
            (lambda: people.arrived("lobby", "bob", None), Presence.HERE),
            (lambda: people.admit("lobby", "bob", None), Presence.HERE),
            (lambda: people.departed("lobby", "bob"), Presence.LEFT),
            (lambda: people.admit("lobby", "bob", None), Presence.ADMITTED),
        )
        for step, presence in steps:
            step()
            assert people.presence("lobby", "bob") is presence
            assert people.is_anybody_here("lobby") is (presence is Presence.HERE)

    def test_display_name_when_none_is_given_stays(self, store: Store) -> None:
        """The newest mint that gives one counts; an arrival does not rename."""
        store.people.admit("lobby", "bob", "Bob")
        store.people.admit("lobby", "bob", None)
        store.people.arrived("lobby", "bob", "Robert")
        store.people.arrived("lobby", "cat", "Cat")
        store.people.admit("lobby", "dan", None)
        assert store.people.names("lobby", ("bob", "cat", "dan", "eve")) == {"bob": "Bob", "cat": "Cat"}
        assert store.people.names("lobby", ()) == {}
        store.people.admit("lobby", "bob", "Robert")
        assert store.people.name("lobby", "bob") == "Robert"
        assert store.people.name("hall", "bob") is None

    # -- bans

    def test_ban_when_written_again_takes_the_place_of_the_old_one(self, store: Store) -> None:
        """One for each identity and room; rule 3: the numbers grow."""
        first = store.bans.put(a_ban(lasts_s=10))
        second = store.bans.put(a_ban())
        assert second.id > first.id
        assert store.bans.of("bob", NOW, room="lobby") == [second]
        store.bans.put(a_ban(room=None))
        everywhere = store.bans.put(a_ban(room=None))
        assert store.bans.of("bob", NOW) == [everywhere]
        assert len(store.bans.of("bob", NOW, room="lobby")) == 2

    def test_identity_when_a_ban_of_it_was_written_is_known(self, store: Store) -> None:
        """To an engine that starts anew too; nobody else is looked up in the database."""
        store.bans.put(a_ban())
        again = self.open()
        assert [store.bans.is_known("bob"), again.bans.is_known("bob"), store.bans.is_known("ann")] == [
            True,
            True,
            False,
        ]
        again.close()

    def test_ban_when_expired_is_in_no_answer(self, store: Store) -> None:
        """As if it had never been."""
        store.bans.put(a_ban(lasts_s=10))
        later = NOW + timedelta(seconds=10)
        assert store.bans.of("bob", later, room="lobby") == []
        assert store.bans.page(later, rooms=None, page=1, per_page=20) == ([], 0)
        assert store.bans.since(NOW, later) == []
        assert store.bans.lift("bob", "lobby", later) == 0

    def test_bans_when_lifted_are_counted_as_far_as_they_were_in_force(self, store: Store) -> None:
        """Of one room, or everywhere."""
        for room in ("lobby", "hall", None):
            store.bans.put(a_ban(room=room))
        assert store.bans.lift("bob", "lobby", NOW) == 1
        assert store.bans.lift("bob", "lobby", NOW) == 0
        assert store.bans.lift("bob", None, NOW, everywhere=True) == 2
        assert store.bans.of("bob", NOW, room="hall") == []

    def test_page_of_bans_when_asked_for_rooms_holds_the_newest_of_these(self, store: Store) -> None:
        """No rooms: no bans; None: all of them."""
        for number, room in zip(range(5), itertools.cycle(("lobby", "hall")), strict=False):
            store.bans.put(a_ban(f"p{number}", room))
        store.bans.put(a_ban("all", None))

        def found(rooms: list[str] | None, page: int) -> tuple[list[str], int]:
            rows, total = store.bans.page(NOW, rooms=rooms, page=page, per_page=2)
            return [row.identity for row in rows], total

        assert found(None, 1) == (["all", "p4"], 6)
        assert found(["lobby"], 2) == (["p0"], 3)
        assert found([], 1) == ([], 0)

    def test_bans_when_asked_for_since_a_moment_are_those_pronounced_then_or_later(
        self, store: Store
    ) -> None:
        """The moment itself counts."""
        old = replace(a_ban("old"), banned_at=NOW - timedelta(seconds=1))
        store.bans.put(old)
        new = store.bans.put(a_ban("new"))
        assert store.bans.since(NOW, NOW) == [new]

    # -- keys

    def test_keys_when_written_are_found_by_id_and_digest_after_another_opening(self, store: Store) -> None:
        """All that a key says, newest first."""
        for number in (1, 2):
            store.keys.insert(a_key(number))
        again = self.open()
        for each in (store, again):
            assert each.keys.all() == [a_key(2), a_key(1)]
            assert each.keys.get("key_1") == each.keys.by_digest("digest 1") == a_key(1)
            assert each.keys.get("key_3") is None
            assert each.keys.by_digest("digest 3") is None
        again.close()

    def test_key_when_revoked_stays_so_with_the_first_moment(self, store: Store) -> None:
        """Revoked twice is revoked once, also after another opening."""
        store.keys.insert(a_key())
        revoked = store.keys.revoke("key_1", NOW)
        assert revoked == replace(a_key(), revoked_at=NOW)
        assert store.keys.revoke("key_1", NOW + timedelta(days=1)) == revoked
        assert store.keys.revoke("key_2", NOW) is None
        again = self.open()
        assert again.keys.get("key_1") == again.keys.by_digest("digest 1") == revoked
        again.close()

    def test_key_when_its_revocation_is_taken_back_is_in_use(self, store: Store) -> None:
        """Rule 1: the memory is as the database."""
        store.keys.insert(a_key())

        def revoke_and_refuse() -> None:
            with store.transaction():
                store.keys.revoke("key_1", NOW)
                store.logins.see(Login("bob"), NOW)
                raise Refusal("callee_busy", "no")

        with pytest.raises(Refusal):
            revoke_and_refuse()
        assert store.keys.by_digest("digest 1") == a_key()

    # -- pairings

    def test_pairing_when_written_again_is_as_it_was_written_last(self, store: Store) -> None:
        """All that it says, also after another opening; newest first."""
        store.pairings.put(a_pairing(1))
        store.pairings.put(a_pairing(2))
        used = replace(
            a_pairing(1),
            ended="used",
            wrong=4,
            key_id="key_1",
            digest="d",
            paired_at=NOW,
            device_name="Küche",
            address="192.0.2.1",
        )
        store.pairings.put(used)
        again = self.open()
        for each in (store, again):
            assert {pairing.id: pairing for pairing in each.pairings.all()} == {
                "id 1": used,
                "id 2": a_pairing(2),
            }
            assert each.pairings.get("id 1") == used
            assert each.pairings.get("id 3") is None
        again.close()

    def test_pairing_when_over_for_a_day_is_forgotten(self, store: Store) -> None:
        """And not before: its device may ask again, and who comes late is told why not."""
        store.pairings.put(a_pairing())
        end = a_pairing().expires_at + KEPT_FOR
        store.pairings.forget_old(end - timedelta(milliseconds=1))
        assert store.pairings.all() == [a_pairing()]
        store.pairings.forget_old(end)
        again = self.open()
        assert store.pairings.all() == again.pairings.all() == []
        again.close()

    def test_pairing_when_its_change_is_taken_back_is_as_before(self, store: Store) -> None:
        """Rule 1: the memory is as the database."""
        store.pairings.put(a_pairing())

        def use_and_refuse() -> None:
            with store.transaction():
                store.pairings.put(replace(a_pairing(), ended="used"))
                store.pairings.forget_old(NOW + timedelta(days=9))
                raise Refusal("callee_busy", "no")

        with pytest.raises(Refusal):
            use_and_refuse()
        assert store.pairings.all() == [a_pairing()]

    # -- broker logins

    def test_login_when_minted_is_remembered_by_identity_and_key(self, store: Store) -> None:
        """Also after another opening; its password is known once it was told."""
        own, by_key = Login("bob"), Login("bob", "key_1")
        for login in (own, by_key, Login("cat", "key_1")):
            store.logins.see(login, NOW)
        store.logins.tell(own, "digest")
        again = self.open()
        for each in (store, again):
            assert set(each.logins.of(identity="bob")) == {own, by_key}
            assert set(each.logins.of(key_id="key_1")) == {by_key, Login("cat", "key_1")}
            assert (each.logins.told(own), each.logins.told(by_key)) == ("digest", None)
            assert each.logins.ending() == []
        again.close()

    def test_login_when_it_is_to_end_is_kept_until_it_has(self, store: Store) -> None:
        """A broker that is away hears of it later."""
        login = Login("bob")
        store.logins.see(login, NOW)
        store.logins.end([login, Login("never minted")])
        again = self.open()
        assert again.logins.ending() == [login]
        again.close()
        store.logins.forget(login)
        assert (store.logins.ending(), store.logins.of()) == ([], [])

    def test_login_when_minted_while_it_ends_lives_on(self, store: Store) -> None:
        """Nothing is known of its password any more, and a late word of its end is not heard."""
        login = Login("bob")
        store.logins.see(login, NOW)
        store.logins.tell(login, "digest")
        store.logins.end([login])
        store.logins.see(login, NOW)
        store.logins.forget(login)
        assert (store.logins.of(), store.logins.ending()) == ([login], [])
        assert store.logins.told(login) is None

    def test_login_when_not_minted_for_long_is_found(self, store: Store) -> None:
        """A new mint counts, if not to the hour."""
        for identity in ("old", "used"):
            store.logins.see(Login(identity), NOW)
        later = NOW + timedelta(days=90)
        store.logins.see(Login("used"), later)
        assert store.logins.unseen_since(later) == [Login("old")]
