"""The rules of the stage, of roles and of what somebody may publish, one sentence each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from utdstream._wire import messages
from utdstream.engine.rules import roles, room_views, stage
from utdstream.engine.rules.grants import ALL_SOURCES, Rights, publish_rights, rights
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.room_state import Override, RoomState, SeatState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStageMember, UTDStreamType

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
LIVE = Room("show", UTDStreamType.LIVE_STREAM, "host", NOW)
AUDIO = Room("lobby", UTDStreamType.AUDIO_ROOM, "host", NOW)
STATE = RoomState(roles={"ada": "admin"}, stage=("ann",))
MIC, CAM = "microphone", "camera"


def refused(rule: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as refusal:
        rule()
    return refusal.value.code


# Rights.


@pytest.mark.parametrize(
    ("room", "identity", "sources"),
    [
        (LIVE, "host", ALL_SOURCES),
        (LIVE, "ann", (MIC, CAM)),
        (LIVE, "ada", ()),
        (LIVE, "eve", ()),
        (AUDIO, "host", ()),
        (AUDIO, "ann", ()),
        (AUDIO, "bob", (MIC,)),
    ],
)
def test_place_when_taken_says_what_its_participant_publishes(
    room: Room, identity: str, sources: tuple[str, ...]
) -> None:
    """The place says what its participant publishes."""
    state = replace(STATE, seats=(SeatState(), SeatState("bob")))
    assert publish_rights(room, state, identity) == sources


def test_participant_when_forbidden_publishes_nothing_anywhere() -> None:
    """A participant that is forbidden publishes nothing anywhere."""
    state = replace(STATE, seats=(SeatState("ann"),), forbidden=frozenset({"ann", "host"}))
    for room in (LIVE, AUDIO):
        assert publish_rights(room, state, "ann") == publish_rights(room, state, "host") == ()


def test_override_when_set_goes_before_the_place_but_not_against_a_host() -> None:
    """An override goes before the place but not against a host."""
    state = replace(
        STATE, overrides={"ann": Override(can_publish=False), "host": Override(can_publish=False)}
    )
    assert publish_rights(LIVE, state, "ann") == ()
    assert publish_rights(LIVE, state, "host") == ALL_SOURCES
    state = replace(STATE, overrides={"eve": Override(True, False, False)})
    assert rights(LIVE, state, "eve") == Rights((MIC, CAM), can_subscribe=False, can_publish_data=False)
    assert publish_rights(AUDIO, state, "eve") == (MIC,)
    assert rights(LIVE, state, "ann") == Rights((MIC, CAM))


def test_mute_when_ordered_leaves_the_right() -> None:
    """A mute leaves the right."""
    state = RoomState(seats=(SeatState("ann"),), muted=frozenset({"ann"}))
    assert publish_rights(AUDIO, state, "ann") == (MIC,)


# The stage.


def test_invitation_to_the_stage_when_repeated_is_no_error() -> None:
    """An invitation brings on the stage and again is no error."""
    outcome = stage.invite(LIVE, STATE, "ada", "bob", is_here=True)
    assert outcome.state.stage == ("ann", "bob")
    for target in ("bob", "host"):
        assert stage.invite(LIVE, outcome.state, None, target, is_here=False).state == outcome.state
    assert refused(lambda: stage.invite(LIVE, STATE, "ann", "bob", is_here=True)) == "forbidden"
    assert refused(lambda: stage.invite(LIVE, STATE, "host", "bob", is_here=False)) == "participant_not_found"
    assert refused(lambda: stage.invite(AUDIO, STATE, "host", "bob", is_here=True)) == "invalid_state"
    full = replace(STATE, stage=tuple(f"x{number}" for number in range(stage.MAX_MEMBERS)))
    assert refused(lambda: stage.invite(LIVE, full, "host", "bob", is_here=True)) == "invalid_state"


def test_stage_when_listed_has_the_host_first_and_others_by_the_time_of_joining() -> None:
    """The host is first and others by the time of joining."""
    state = stage.invite(LIVE, STATE, "host", "ada", is_here=True).state
    assert room_views.stage_members(LIVE, state, {"ann": "Ann"}) == [
        UTDStageMember("host", None, "host"),
        UTDStageMember("ann", "Ann", "guest"),
        UTDStageMember("ada", None, "admin"),
    ]


def test_guest_when_removed_or_gone_is_not_on_the_stage() -> None:
    """A guest that is removed or leaves is not on the stage."""
    assert stage.remove(LIVE, STATE, "ada", "ann").state.stage == ()
    assert stage.leave(LIVE, STATE, "ann").state.stage == ()
    assert refused(lambda: stage.remove(LIVE, STATE, "ada", "eve")) == "not_on_stage"
    assert refused(lambda: stage.remove(LIVE, STATE, "ada", "host")) == "forbidden"
    assert refused(lambda: stage.remove(LIVE, STATE, "ann", "ann")) == "forbidden"
    assert refused(lambda: stage.leave(LIVE, STATE, "eve")) == "not_on_stage"
    assert refused(lambda: stage.leave(LIVE, STATE, "host")) == "invalid_state"


def test_stage_request_when_made_is_told_and_not_written_down() -> None:
    """A viewer that asks for the stage is told of and not written down."""
    outcome = stage.request(LIVE, STATE, "eve", name="Eve")
    assert outcome.state is STATE
    assert outcome.notices[0].to == ("host", "ada")
    assert outcome.notices[0].fields == {"identity": "eve", "name": "Eve"}
    assert refused(lambda: stage.request(LIVE, STATE, "ann", name=None)) == "invalid_state"


def test_guest_when_no_guest_any_more_is_not_on_the_stage() -> None:
    """A guest is on the stage as long as the role lasts."""
    guest = roles.change(LIVE, STATE, "host", "bob", "guest", is_here=True).state
    assert publish_rights(LIVE, guest, "bob") == (MIC, CAM)
    audience = roles.change(LIVE, guest, "host", "bob", "audience", is_here=True).state
    assert publish_rights(LIVE, audience, "bob") == ()
    left = stage.leave(LIVE, guest, "bob")
    assert roles.role_of(LIVE, left.state, "bob") == "audience"
    assert left.notices[0].type == messages.ROLE_CHANGE
    gone = roles.gone(LIVE, guest, "bob")
    assert (gone.state.stage, gone.state.roles) == (STATE.stage, STATE.roles)
    assert gone.notices == left.notices


# Roles.


def test_role_when_changed_needs_the_owner_and_is_told_to_everybody() -> None:
    """Only the owner changes roles and everybody is told."""
    outcome = roles.change(AUDIO, STATE, "host", "bob", "admin", is_here=True)
    fields = {"identity": "bob", "role": "admin", "previous_role": "audience"}
    assert outcome.answer == {"ok": True, **fields}
    assert [(notice.type, notice.fields, notice.to) for notice in outcome.notices] == [
        (messages.ROLE_CHANGE, fields, None)
    ]
    for actor, target, is_here, code in (
        ("ada", "bob", True, "not_owner"),
        ("host", "host", True, "forbidden"),
        ("host", "nobody", False, "participant_not_found"),
        ("host", "ada", True, "already_in_role"),
    ):
        assert (
            refused(lambda: roles.change(AUDIO, STATE, actor, target, "admin", is_here=is_here)) == code  # noqa: B023
        )
    assert roles.change(AUDIO, STATE, None, "ada", "audience", is_here=False).state.roles == {}


def test_admin_when_moderating_may_not_touch_hosts() -> None:
    """An admin moderates everybody but hosts."""
    assert roles.may_moderate(LIVE, STATE, "ada", "ann")
    assert not roles.may_moderate(LIVE, STATE, "ada", "host")
    assert not roles.may_moderate(LIVE, STATE, "ann")
    assert roles.may_moderate(LIVE, STATE, "host", "ada")
    assert roles.may_moderate(LIVE, STATE, None, "host")
    assert roles.moderators(LIVE, STATE) == ("host", "ada")


@pytest.mark.parametrize(
    ("identity", "claimed", "trusted", "granted"),
    [
        ("eve", None, False, "audience"),
        ("eve", "host", False, "audience"),
        ("eve", "admin", False, "audience"),
        ("eve", "guest", False, "audience"),
        ("eve", "visitor", False, "visitor"),
        ("eve", "admin", True, "admin"),
        ("eve", "host", True, "host"),
        ("host", None, False, "host"),
        ("host", "audience", True, "host"),
        ("ada", None, False, "admin"),
        ("ada", "audience", True, "admin"),
        ("ada", "visitor", False, "admin"),
    ],
)
def test_mint_when_a_role_is_claimed_believes_the_server_alone(
    identity: str, claimed: str | None, trusted: bool, granted: str
) -> None:
    """A mint grants what is known and believes the server alone."""
    role, state = roles.at_mint(LIVE, STATE, identity, claimed, trusted=trusted)
    assert role == granted
    assert roles.at_mint(LIVE, state, identity, None, trusted=False)[0] == (
        "audience" if granted == "visitor" else granted
    )


def test_guest_when_the_server_says_so_is_on_the_stage() -> None:
    """A guest of the server is on the stage."""
    _, state = roles.at_mint(LIVE, STATE, "eve", "guest", trusted=True)
    assert publish_rights(LIVE, state, "eve") == (MIC, CAM)


def test_metadata_of_a_participant_when_the_role_changes_gets_it_and_keeps_the_rest() -> None:
    """The metadata of a participant gets the role and keeps the rest."""
    merged = room_views.person_metadata('{"role": "audience", "x": 1}', LIVE, STATE, "ada")
    assert json.loads(merged or "") == {"role": "admin", "x": 1}
    assert room_views.person_metadata('{"role": "admin"}', LIVE, STATE, "ada") is None
    assert room_views.person_metadata('{"role": "visitor"}', LIVE, STATE, "eve") is None
    assert room_views.person_metadata("not ours", LIVE, STATE, "ada") is None
    assert room_views.shown_role('{"role": "visitor"}', LIVE, STATE, "eve") == "visitor"
    assert room_views.shown_role("", LIVE, STATE, "eve") == "audience"
