"""The rules of moderating people, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from utdstream._wire import messages
from utdstream.engine.rules import grants, moderation
from utdstream.engine.rules.moderation import PermissionWish
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.room_state import Override, RoomState, SeatState, new_state
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
LIVE = Room("lobby", UTDStreamType.LIVE_STREAM, "ann", NOW)
AUDIO = Room("hall", UTDStreamType.AUDIO_ROOM, "ann", NOW)


def live(**fields: object) -> RoomState:
    return replace(new_state(LIVE), roles={"adam": "admin"}, **fields)  # type: ignore[arg-type]


def test_decision_when_made_is_merged_with_the_earlier_ones() -> None:
    """A decision is merged with the earlier ones."""
    first = moderation.permit(LIVE, live(), "ann", "bob", PermissionWish(can_subscribe=False)).state
    second = moderation.permit(LIVE, first, "ann", "bob", PermissionWish(can_publish=True)).state
    assert grants.rights(LIVE, second, "bob") == grants.Rights(grants.STAGE_SOURCES, can_subscribe=False)
    third = moderation.permit(LIVE, second, "ann", "bob", PermissionWish(can_subscribe=True)).state
    assert third.overrides == {"bob": Override(can_publish=True)}


def test_decision_when_the_rules_give_it_anyhow_is_not_kept() -> None:
    """What the rules give anyhow is not kept."""
    outcome = moderation.permit(LIVE, live(), "ann", "bob", PermissionWish(can_publish_data=True))
    assert outcome.state == live()
    assert outcome.answer["permission"] == {
        "canPublish": False,
        "canSubscribe": True,
        "canPublishData": True,
    }


def test_microphone_when_in_an_audio_room_comes_with_a_seat_only() -> None:
    """In an audio room only a seat gives the microphone."""
    wish = PermissionWish(can_publish=True)
    with pytest.raises(Refusal) as refusal:
        moderation.permit(AUDIO, new_state(AUDIO), "ann", "bob", wish)
    assert (refusal.value.status, refusal.value.code) == (409, "not_seated")
    seated = replace(new_state(AUDIO), seats=(SeatState(), SeatState("bob")))
    silent = moderation.permit(AUDIO, seated, "ann", "bob", PermissionWish(can_publish=False)).state
    assert grants.publish_rights(AUDIO, silent, "bob") == ()
    again = moderation.permit(AUDIO, silent, "ann", "bob", wish).state
    assert again == seated


def test_host_when_decided_about_can_only_be_forbidden() -> None:
    """A host publishes by right and is only forbidden."""
    with pytest.raises(Refusal) as refusal:
        moderation.permit(LIVE, live(), None, "ann", PermissionWish(can_publish=False))
    assert refusal.value.code == "invalid_state"
    state = moderation.forbid(LIVE, live(), None, "ann").state
    assert grants.publish_rights(LIVE, state, "ann") == ()
    assert moderation.resume(LIVE, state, None, "ann").state == live()


def test_decision_when_forbidding_is_over_every_other() -> None:
    """Forbidding is over every other decision."""
    state = moderation.permit(LIVE, live(), "ann", "bob", PermissionWish(can_publish=True)).state
    state = moderation.forbid(LIVE, state, "adam", "bob").state
    assert grants.publish_rights(LIVE, state, "bob") == ()
    assert grants.publish_rights(LIVE, moderation.resume(LIVE, state, "adam", "bob").state, "bob")


@pytest.mark.parametrize("actor", ["adam", "bob"])
def test_decision_when_about_a_host_is_for_hosts(actor: str) -> None:
    """Nobody but a host decides about a host."""
    for rule in (moderation.forbid, moderation.resume, moderation.look_at):
        with pytest.raises(Refusal) as refusal:
            rule(LIVE, live(), actor, "ann")
        assert refusal.value.code == "forbidden"
    with pytest.raises(Refusal):
        moderation.permit(LIVE, live(), actor, "ann", PermissionWish(can_subscribe=False))
    with pytest.raises(Refusal):
        moderation.mute_microphone(LIVE, live(), actor, "ann", is_muted=True)
    with pytest.raises(Refusal):
        moderation.set_metadata(LIVE, live(), actor, {})


def test_mute_when_the_speaker_moves_follows_until_it_is_lifted() -> None:
    """A mute follows the person until it is lifted."""
    muted = moderation.mute_microphone(LIVE, live(), "adam", "bob", is_muted=True).state
    assert muted.muted == {"bob"}
    assert moderation.mute_microphone(LIVE, muted, "adam", "bob", is_muted=False).state == live()


def test_lock_when_done_twice_changes_nothing() -> None:
    """Locking twice changes nothing."""
    locked = moderation.lock_comments(LIVE, live(), "adam", locked=True)
    assert (locked.state.comments_locked, locked.state.comments_locked_by) == (True, "adam")
    again = moderation.lock_comments(LIVE, locked.state, "ann", locked=True)
    assert again.state is locked.state
    by_server = moderation.lock_comments(LIVE, locked.state, None, locked=False)
    assert (by_server.state.comments_locked, by_server.state.comments_locked_by) == (False, "")


def test_room_metadata_when_set_is_replaced_and_the_engines_keys_are_refused() -> None:
    """Room metadata is replaced and the engine's keys are refused."""
    state = moderation.set_metadata(LIVE, live(metadata={"old": 1}), "ann", {"new": 2}).state
    assert state.metadata == {"new": 2}
    with pytest.raises(Refusal) as refusal:
        moderation.set_metadata(LIVE, live(), None, {"_stage": 1})
    assert refusal.value.status == 422


def test_metadata_of_a_participant_when_set_keeps_what_the_engine_wrote() -> None:
    """A participant's metadata keeps what the engine wrote."""
    before = {"role": "guest", "appId": "12", "team": "red", "level": 1}
    changes = {"role": "host", "service": "x", "team": None, "level": 2}
    after = moderation.merged_metadata(before, changes)
    assert after == {"level": 2, "role": "guest", "appId": "12"}


def test_participant_when_put_out_loses_what_was_held() -> None:
    """A participant that is put out loses what was held."""
    state = live(stage=("bob",), overrides={"bob": Override(can_publish=True)}, forbidden=frozenset({"bob"}))
    state = replace(state, roles={"adam": "admin", "bob": "admin"})
    outcome = moderation.put_out(LIVE, state, "bob")
    assert (outcome.state.stage, outcome.state.overrides, outcome.state.roles) == ((), {}, {"adam": "admin"})
    assert outcome.state.forbidden == {"bob"}
    assert [notice.type for notice in outcome.notices] == [messages.ROLE_CHANGE]
    assert moderation.put_out(LIVE, live(), "eve").state == live()
