"""What is signed, and the work in the background."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from livekit import api

from utdstream.engine import config
from utdstream.engine.background import Lanes, Timers
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.rules.keys import Login
from utdstream.engine.rules.refusals import Refusal

LIVEKIT_SECRET = "livekit-secret-of-at-least-32-bytes"
SETTINGS = config.EngineConfig(
    engine=config.EngineSection(database="unused", token_secret="ts"),
    project=config.ProjectSection(app_id="12", app_key="key", app_secret="secret"),
    livekit=config.LiveKitSection(api_key="lk", api_secret=LIVEKIT_SECRET),
)


def test_bearer_when_not_this_engines_is_refused() -> None:
    """A bearer speaks for its identity only here."""
    tokens = Tokens(SETTINGS)
    assert tokens.read(tokens.bearer("Tür 🚪", "key_1")) == ("Tür 🚪", "key_1")
    other = Tokens(replace(SETTINGS, engine=replace(SETTINGS.engine, token_secret="another")))
    for bearer in ("", "x", "a.b.c", tokens.bearer("door", "key_1")[:-3], other.bearer("door", "key_1"), "ü"):
        with pytest.raises(Refusal) as refusal:
            tokens.read(bearer)
        assert refusal.value.code == "invalid_token"


def test_mark_when_the_project_or_what_its_codes_hang_on_is_another_is_another() -> None:
    """Pairing codes that are open end with it; the devices' open key has no part in it."""

    engine, project = SETTINGS.engine, SETTINGS.project
    marks = [
        Tokens(replace(SETTINGS, engine=changed[0], project=changed[1])).secrets_mark
        for changed in (
            (engine, project),
            (engine, replace(project, app_key="another")),
            (replace(engine, token_secret="another"), project),
            (engine, replace(project, app_secret="another")),
            (engine, replace(project, app_id="7")),
        )
    ]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 4


def test_bearer_when_it_ran_out_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bearer that ran out says so."""
    tokens = Tokens(SETTINGS)
    monkeypatch.setattr("utdstream.engine.media.tokens.time.time", lambda: 1_000_000.0)
    bearer = tokens.bearer("door", "key_1")
    with pytest.raises(Refusal) as refusal:
        tokens.read(bearer)
    assert (refusal.value.status, refusal.value.code) == (401, "token_expired")


def test_media_token_when_made_publishes_what_it_names_and_lives_two_minutes() -> None:
    """A media token publishes what it names and lives two minutes."""
    tokens = Tokens(SETTINGS)
    text = tokens.media(room="r", identity="door", name=None, sources=("microphone",))
    claims = jwt.decode(text, LIVEKIT_SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["nbf"] == 120
    video = claims["video"]
    assert (video["room"], video["canPublish"], video["canPublishSources"]) == ("r", True, ["microphone"])
    mute = jwt.decode(
        tokens.media(room="r", identity="door", name=None, sources=()), LIVEKIT_SECRET, algorithms=["HS256"]
    )
    assert mute["video"]["canPublish"] is False
    assert mute["video"]["canSubscribe"] is True


def test_media_token_when_made_is_the_one_that_livekit_would_make() -> None:
    """A media token is the one that livekit would make."""
    grants = api.VideoGrants(
        room_join=True,
        room="r",
        can_publish=True,
        can_publish_sources=["microphone", "camera"],
        can_subscribe=True,
        can_publish_data=False,
        can_update_own_metadata=False,
    )
    theirs = (
        api.AccessToken(SETTINGS.livekit.api_key, SETTINGS.livekit.api_secret)
        .with_identity("door")
        .with_name("Door")
        .with_metadata("{}")
        .with_ttl(timedelta(minutes=10))
        .with_grants(grants)
        .to_jwt()
    )
    ours = Tokens(SETTINGS).media(
        room="r",
        identity="door",
        name="Door",
        sources=("microphone", "camera"),
        metadata="{}",
        can_publish_data=False,
    )

    def claims(token: str) -> dict[str, object]:
        times = ("nbf", "exp")
        found = jwt.decode(token, LIVEKIT_SECRET, algorithms=["HS256"])
        return {name: value for name, value in found.items() if name not in times and value != ""}

    assert claims(ours) == claims(theirs)


def test_credentials_when_compared_are_so_whole_and_take_any_text() -> None:
    """Credentials compare whole and take any text."""
    tokens = Tokens(SETTINGS)
    assert tokens.is_app_id("12")
    assert tokens.is_app_key("key")
    assert tokens.is_app_secret("secret")
    for wrong in ("", "ke", "keyy", "ü", "secre"):
        assert not tokens.is_app_key(wrong)
        assert not tokens.is_app_secret(wrong)
    assert tokens.mqtt_password(Login("a")) == Tokens(SETTINGS).mqtt_password(Login("a"))
    each = (Login("a"), Login("b"), Login("a", "key_1"), Login("a", "key_2"))
    assert len({tokens.mqtt_password(login) for login in each}) == len(each)


def test_work_when_of_one_key_is_in_order_and_a_failure_stops_nothing() -> None:
    """Work of one key is in order and a failure stops nothing."""

    async def run() -> list[str]:
        lanes, done = Lanes(), list[str]()
        gate = asyncio.Event()

        async def first() -> None:
            await gate.wait()
            done.append("first")
            raise RuntimeError("expected by this test")

        async def note(word: str) -> None:
            done.append(word)
            if word == "second":
                finished.set()

        finished = asyncio.Event()
        lanes.put("a", first)
        lanes.put("a", lambda: note("second"))
        lanes.put("b", lambda: note("other"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait_for(finished.wait(), 2)
        await lanes.stop()
        return done

    assert asyncio.run(run()) == ["other", "first", "second"]


def test_timers_when_due_fire_in_order_of_their_time() -> None:
    """Timers fire in order of their time."""

    async def run() -> list[int]:
        timers, fired = Timers(), list[int]()
        last = asyncio.Event()

        async def note(number: int) -> None:
            fired.append(number)
            if number == 3:
                last.set()

        timers.after(0.03, "third", lambda: note(3))
        timers.start()
        timers.after(0.02, "second", lambda: note(2))
        timers.after(-5.0, "first", lambda: note(1))
        await asyncio.wait_for(last.wait(), 2)
        await timers.stop()
        return fired

    assert asyncio.run(run()) == [1, 2, 3]
