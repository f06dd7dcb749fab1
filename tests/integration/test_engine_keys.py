"""App keys on the real stack: what a key opens, what it does not, and what is left when it is revoked."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
import requests
from engine_site import EventReader, Site, people_of, person_of
from facts import eventually

from utdstream import AuthenticationFailed, PermissionDenied, UTDStreamClient, UTDStreamType
from utdstream._session.room import UTDRoom
from utdstream._wire import codec, routes
from utdstream.cli import main
from utdstream.models import MqttLogin
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]


def mint(site: Site, key: str, identity: str, **fields: object) -> tuple[int, dict[str, object]]:
    """What the engine answers to a mint with this key."""
    path = routes.TOKEN if fields else routes.AUTH_SESSION
    answer = site.with_headers(X_App_Key=key).ask("POST", path, {"identity": identity, **fields})
    return answer.status_code, answer.json()


def login_of(answer: tuple[int, dict[str, object]]) -> MqttLogin:
    """The broker login in the answer of a mint."""
    login = codec.parse_session(answer[1]).mqtt
    assert login is not None
    return login


def code_of(answer: tuple[int, dict[str, object]]) -> tuple[int, object]:
    return answer[0], answer[1].get("code")


def key_ids_of(site: Site, identity: str) -> list[str]:
    """The ids of the keys of this identity, the newest first."""
    rows = site.server().ask("GET", f"{routes.KEYS}?per_page=100").json()["data"]
    return [row["key_id"] for row in rows if row["identity"] == identity]


def key_id_of(site: Site, identity: str) -> str:
    """The id of the newest key of this identity."""
    return key_ids_of(site, identity)[0]


def test_open_key_when_off_is_nobody(site: Site) -> None:
    """What is in every device and on the wire of a network opens nothing."""
    answer = mint(site, site.stack.app_key, "house")
    assert code_of(answer) == (401, "invalid_credentials")
    assert "utdstream engine key add" in str(answer[1]["message"])
    assert site.server().ask("GET", routes.HEALTH).json()["open_key"] is False


def test_key_when_used_for_another_identity_is_refused_in_both_mints(site: Site) -> None:
    """The key of one device is no other device, whatever it asks for."""
    key = site.stack.issue_key("door")
    assert mint(site, key, "door")[0] == 200
    assert code_of(mint(site, key, "house")) == (403, "identity_mismatch")
    assert code_of(mint(site, key, "house", room_name="lobby")) == (403, "identity_mismatch")
    kiosks = site.stack.issue_key("kiosk-*")
    assert mint(site, kiosks, "kiosk-1")[0] == 200
    assert code_of(mint(site, kiosks, "door")) == (403, "identity_mismatch")


def test_client_when_its_key_is_anothers_gets_a_typed_error(closed: LocalStack) -> None:
    """The SDK says in one sentence what is wrong, and holds no surprise with the right key."""
    key = closed.issue_key("bell")
    for identity, is_right in (("bell", True), ("house", False)):
        with UTDStreamClient(app_id=closed.app_id, app_key=key, base_url=closed.base_url) as client:
            if is_right:
                client.authenticate(identity=identity)
                continue
            with pytest.raises(PermissionDenied) as refused:
                client.authenticate(identity=identity)
            assert refused.value.code == "identity_mismatch"
            assert key not in str(refused.value)


def test_room_when_the_key_may_not_host_is_neither_made_nor_claimed(site: Site) -> None:
    """A name cannot be taken before its host comes; with the host in it, the listener is admitted as one."""
    listener, host = site.stack.issue_key("listener"), site.stack.issue_key("ann", may_host=True)
    show = {"room_name": "show", "type": "live_stream"}
    for claim in ({}, {"role": "host"}, {"role": "host", "room_owner_id": "listener"}):
        assert code_of(mint(site, listener, "listener", **show, **claim)) == (404, "room_not_found")
    assert mint(site, host, "ann", **show, role="host")[1]["role"] == "host"
    assert mint(site, listener, "listener", **show, role="host")[1]["role"] == "audience"
    lesser = site.stack.issue_key("ann")
    assert code_of(mint(site, lesser, "ann", **show)) == (403, "forbidden")


AS_HOST: dict[str, tuple[str, str, object]] = {
    "close": ("DELETE", routes.room("parlour"), None),
    "read": ("GET", routes.room("parlour"), None),
    "say": ("POST", routes.send_data("parlour"), {"data": "x"}),
    "describe": ("PUT", routes.room_metadata("parlour"), {"metadata": {}}),
    "lock comments": ("PUT", routes.comments_lock("parlour"), {"locked": True}),
    "remove": ("DELETE", routes.participant("parlour", "guest"), None),
    "look": ("GET", routes.participant("parlour", "guest"), None),
    "permit": ("PUT", routes.participant_action("parlour", "guest", "permissions"), {"can_publish": True}),
    "mute": ("PUT", routes.participant_action("parlour", "guest", "mute"), {"audio": True}),
    "forbid": ("PUT", routes.participant_action("parlour", "guest", "forbid-stream"), {}),
    "promote": ("PUT", routes.participant_action("parlour", "guest", "role"), {"role": "admin"}),
    "set up": ("POST", routes.seats_action("parlour", "setup"), {"seat_count": 4}),
    "lock": ("POST", routes.seat_action("parlour", 1, "lock"), None),
    "take the host's seat": ("POST", routes.seat_action("parlour", 0, "take"), None),
    "invite": ("POST", routes.speakers("parlour", "invite"), {"target_identity": "guest", "seat_index": 2}),
    "ban": ("POST", routes.BAN, {"identity": "guest", "room_name": "parlour"}),
    "lift": ("DELETE", routes.BAN, {"identity": "guest", "room_name": "parlour"}),
    "list bans": ("GET", f"{routes.BANS}?room_name=parlour", None),
}


@pytest.mark.parametrize("what", AS_HOST)
def test_host_when_the_key_may_not_host_does_nothing_as_one(site: Site, what: str) -> None:
    """To host belongs to the key: the name alone, by a key that may not, opens nothing, in whatever operation."""
    hosting, lesser, guest = (
        site.stack.issue_key("lady", may_host=True),
        site.stack.issue_key("lady"),
        site.stack.issue_key("guest"),
    )
    parlour = {"room_name": "parlour", "type": "audio_room"}
    host = mint(site, hosting, "lady", **parlour, role="host")[1]
    mint(site, guest, "guest", **parlour)
    method, path, body = AS_HOST[what]
    bearer = mint(site, lesser, "lady")[1]["user_token"]
    refused = site.with_headers(Authorization=f"Bearer {bearer}").ask(method, path, body)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "this app key may not host" in refused.json()["message"]
    taken = site.with_headers(Authorization=f"Bearer {host['user_token']}").ask(method, path, body)
    assert taken.json().get("code") != "forbidden"


def test_bans_when_listed_by_a_key_that_may_not_host_are_none(site: Site) -> None:
    """Nor those of a room that the key is not for."""
    hosting = site.stack.issue_key("dean", may_host=True)
    elsewhere = site.stack.issue_key("dean", may_host=True, rooms=["other-*"])
    host = mint(site, hosting, "dean", room_name="college", role="host")[1]
    as_host = site.with_headers(Authorization=f"Bearer {host['user_token']}")
    ban = {"identity": "rowdy-one", "room_name": "college"}
    assert as_host.ask("POST", routes.BAN, ban).status_code == 201
    assert len(as_host.ask("GET", routes.BANS).json()["data"]) == 1
    for key in (site.stack.issue_key("dean"), elsewhere):
        asker = site.with_headers(Authorization=f"Bearer {mint(site, key, 'dean')[1]['user_token']}")
        assert asker.ask("GET", routes.BANS).json()["data"] == []
        assert asker.ask("POST", routes.BAN, ban).json()["code"] == "forbidden"


def test_participant_when_its_name_becomes_host_by_another_key_publishes_nothing(site: Site) -> None:
    """It came in as a listener by a key that may not host; the claim by one that may is not for it."""
    maker, hosting, lesser = (
        site.stack.issue_key("builder", may_host=True),
        site.stack.issue_key("eve", may_host=True),
        site.stack.issue_key("eve"),
    )
    stage = {"room_name": "arena", "type": "live_stream"}
    mint(site, maker, "builder", **stage)
    listener = mint(site, lesser, "eve", **stage)[1]
    name = f"p{site.stack.app_id}_arena"
    with UTDRoom() as room:
        room.connect(str(listener["url"]), str(listener["token"]))
        eventually(lambda: people_of(site.stack, name) == ["eve"], "it is there")
        assert mint(site, hosting, "eve", **stage, role="host")[1]["role"] == "host"
        eventually(
            lambda: '"host"' in str(person_of(site.stack, name, "eve").get("metadata")), "it was looked at"
        )
        permission = person_of(site.stack, name, "eve")["permission"]
        assert not permission.get("can_publish", permission.get("canPublish", False))  # type: ignore[attr-defined]
        assert not room.can_publish.value


def test_room_when_it_has_no_owner_is_not_claimed_by_a_key_that_may_not_host(site: Site) -> None:
    """The first who may host it has it."""
    maker, guest = site.stack.issue_key("maker", may_host=True), site.stack.issue_key("guest")
    hall = {"room_name": "hall", "type": "live_stream"}
    assert mint(site, maker, "maker", **hall)[1]["role"] == "audience"
    assert mint(site, guest, "guest", **hall, role="host")[1]["role"] == "audience"
    assert mint(site, guest, "guest", **hall, room_owner_id="guest")[1]["role"] == "audience"
    assert mint(site, maker, "maker", **hall, role="host")[1]["role"] == "host"


def test_room_when_the_key_is_for_others_is_refused_in_mint_and_path(site: Site) -> None:
    """In either spelling of its name."""
    key = site.stack.issue_key("bob", may_host=True, rooms=["bob-*", "lobby"])
    other = site.stack.issue_key("cleo", may_host=True)
    assert mint(site, other, "cleo", room_name="attic", role="host")[0] == 200
    for name in ("attic", f"p{site.stack.app_id}_attic"):
        assert code_of(mint(site, key, "bob", room_name=name)) == (403, "forbidden")
    minted = mint(site, key, "bob", room_name="bob-1", role="host")
    assert minted[1]["role"] == "host"
    bob = site.with_headers(Authorization=f"Bearer {minted[1]['user_token']}")
    assert bob.ask("GET", routes.seats("bob-1")).status_code == 200
    assert bob.ask("GET", routes.seats("attic")).json()["code"] == "forbidden"


def test_caller_when_the_key_has_a_display_name_is_shown_by_it(site: Site) -> None:
    """A stranger's device cannot call itself the front door."""
    key = site.stack.issue_key("stranger", display_name="Side gate")
    bearer = mint(site, key, "stranger")[1]["user_token"]
    caller = site.with_headers(Authorization=f"Bearer {bearer}")
    assert caller.call("nobody", caller_name="Front door").caller_name == "Side gate"


def test_caller_when_the_key_has_no_display_name_is_shown_by_its_identity(site: Site) -> None:
    """What it says of itself is worth nothing at somebody's door."""
    key = site.stack.issue_key("plain")
    bearer = mint(site, key, "plain")[1]["user_token"]
    caller = site.with_headers(Authorization=f"Bearer {bearer}")
    call = caller.call("nobody", caller_name="Front door")
    assert (call.caller_name, call.caller_identity) == (None, "plain")


def test_key_when_revoked_ends_and_its_bearers_with_it(site: Site) -> None:
    """At once, in the middle of the bearer's day; another key of the same identity is not concerned."""
    key, other = site.stack.issue_key("lost"), site.stack.issue_key("lost")
    bearers = [mint(site, one, "lost")[1]["user_token"] for one in (key, other)]
    phones = [site.with_headers(Authorization=f"Bearer {bearer}") for bearer in bearers]
    key_ids = key_ids_of(site, "lost")
    assert [phone.ask("GET", routes.CALLS).status_code for phone in phones] == [200, 200]
    revoked = site.server().ask("DELETE", routes.key(key_ids[-1]))
    assert revoked.json()["revoked_at"] is not None
    assert phones[0].ask("GET", routes.CALLS).json()["code"] == "key_revoked"
    assert phones[1].ask("GET", routes.CALLS).status_code == 200
    assert code_of(mint(site, key, "lost")) == (401, "key_revoked")
    again = site.server().ask("DELETE", routes.key(key_ids[-1]))
    assert again.json() == revoked.json()
    assert site.server().ask("DELETE", routes.key("key_none")).json()["code"] == "key_not_found"


def test_places_when_the_key_is_revoked_end_at_once(site: Site) -> None:
    """In a room, on a call and on an event stream; those of another key of the identity stay."""
    host, key, other = (
        site.stack.issue_key("hostess", may_host=True),
        site.stack.issue_key("spy"),
        site.stack.issue_key("spy"),
    )
    lounge = {"room_name": "lounge", "type": "live_stream"}
    mint(site, host, "hostess", **lounge, role="host")
    seat, stays = mint(site, key, "spy", **lounge)[1], mint(site, other, "spy")[1]
    spy = site.with_headers(Authorization=f"Bearer {seat['user_token']}")
    call = spy.call("nobody-at-all")
    streams = [
        requests.get(
            site.stack.base_url + routes.CALL_EVENTS,
            headers={
                routes.HEADER_APP_ID: site.stack.app_id,
                "Authorization": f"Bearer {minted['user_token']}",
            },
            stream=True,
            timeout=20,
        )
        for minted in (seat, stays)
    ]
    room, talk = f"p{site.stack.app_id}_lounge", call.room_name or ""
    with UTDRoom() as place, UTDRoom() as phone, streams[0], streams[1]:
        place.connect(str(seat["url"]), str(seat["token"]))
        phone.connect(call.url or "", call.token or "")
        assert (people_of(site.stack, room), people_of(site.stack, talk)) == (["spy"], ["spy"])
        site.server().ask("DELETE", routes.key(key_ids_of(site, "spy")[-1]))
        eventually(lambda: not people_of(site.stack, room), "the place is free", within_s=1.5)
        eventually(lambda: site.server().get(call.call_id).ended_at, "the call is over", within_s=1.5)
        eventually(lambda: not people_of(site.stack, talk), "the call is left", within_s=1.5)
        assert list(streams[0].iter_lines()) is not None, "it has an end"
        site.server().call("spy", caller_identity="hostess")
        assert any(b"call_initiated" in line for line in streams[1].iter_lines(chunk_size=1))


def test_participant_when_back_with_a_token_of_a_revoked_key_is_removed_at_once(site: Site) -> None:
    """The media server takes the token, as it is good for two minutes; the engine does not."""
    host, key = site.stack.issue_key("keeper", may_host=True), site.stack.issue_key("returner")
    shop = {"room_name": "shop", "type": "live_stream"}
    mint(site, host, "keeper", **shop, role="host")
    minted = mint(site, key, "returner", **shop)[1]
    site.server().ask("DELETE", routes.key(key_ids_of(site, "returner")[0]))
    with UTDRoom() as room:
        room.connect(str(minted["url"]), str(minted["token"]))
        began = time.monotonic()
        eventually(lambda: not room.connected.value, "it is removed", within_s=5)
        assert time.monotonic() - began < 1.5, "without the two seconds of courtesy"


def test_client_when_its_key_is_revoked_gets_a_typed_error(closed: LocalStack, site: Site) -> None:
    """The bearer that is renewed by itself is not to be had any more."""
    key = closed.issue_key("gone")
    with UTDStreamClient(app_id=closed.app_id, app_key=key, base_url=closed.base_url) as client:
        client.authenticate(identity="gone")
        site.server().ask("DELETE", routes.key(key_id_of(site, "gone")))
        with client.call_session(UTDStreamType.AUDIO_CALL) as session, pytest.raises(AuthenticationFailed):
            session.start(callee_identity="house")


def test_keys_when_asked_for_without_the_secret_are_refused(site: Site) -> None:
    """A key makes no keys, and does not see them."""
    key = site.stack.issue_key("curious", may_host=True)
    bearer = mint(site, key, "curious")[1]["user_token"]
    for headers in ({"X_App_Key": key}, {"Authorization": f"Bearer {bearer}"}):
        asker = site.with_headers(**headers)
        for method, path in (("GET", routes.KEYS), ("POST", routes.KEYS), ("DELETE", routes.key("key_1"))):
            assert asker.ask(method, path, {"identity": "x"}).status_code in (401, 403)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"identity": ""},
        {"identity": "door", "rooms": []},
        {"identity": "door", "rooms": "lobby"},
        {"identity": "door", "rooms": ["a b"]},
        {"identity": "door", "rooms": [7]},
        {"identity": "door", "may_host": "yes"},
        {"identity": "door", "display_name": "\n"},
        {"identity": "door", "allow_break_in": "gate"},
        {"identity": "door", "allow_break_in": [7]},
        {"identity": "door", "allow_break_in": ["gate"] * 51},
    ],
)
def test_key_when_asked_for_wrongly_is_not_made(site: Site, fields: dict[str, object]) -> None:
    """422 with a sentence."""
    answer = site.server().ask("POST", routes.KEYS, fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_log_when_keys_are_made_and_used_holds_none(site: Site) -> None:
    """Ids and identities, never a key."""
    key = site.stack.issue_key("logged")
    mint(site, key, "logged")
    log = site.stack.logs("engine")
    assert key_id_of(site, "logged") in log
    assert key not in log


def test_key_when_the_engine_was_killed_is_as_it_was(site: Site) -> None:
    """Made or revoked, it survives `kill -9`."""
    kept, revoked = site.stack.issue_key("kept"), site.stack.issue_key("ended")
    site.server().ask("DELETE", routes.key(key_id_of(site, "ended")))
    site.stack.kill("engine")
    site.stack.start("engine")
    assert mint(site, kept, "kept")[0] == 200
    assert code_of(mint(site, revoked, "ended")) == (401, "key_revoked")


def test_command_when_run_adds_lists_and_revokes(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By address and secret file; the key is printed once, alone, and never listed."""
    secret = tmp_path / "secret"
    secret.write_text(site.stack.app_secret)
    where = [
        "--base-url",
        site.stack.base_url,
        "--app-id",
        site.stack.app_id,
        "--app-secret-file",
        str(secret),
    ]
    assert (
        main(
            [
                *("engine", "key", "add", "gate", "--host", "--room", "g-*", "--display-name", "Gate"),
                *("--allow-break-in", "door", "--allow-break-in", "side-*", *where),
            ]
        )
        == 0
    )
    key = capsys.readouterr().out.strip()
    assert mint(site, key, "gate", room_name="g-1", role="host")[0] == 200
    assert main(["engine", "key", "list", "--json", *where]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["identity"] == "gate")
    assert (row["may_host"], row["rooms"], row["display_name"]) == (True, ["g-*"], "Gate")
    assert row["allow_break_in"] == ["door", "side-*"]
    assert main(["engine", "key", "revoke", row["key_id"], *where]) == 0
    assert row["key_id"] in capsys.readouterr().out
    assert main(["engine", "key", "list", *where]) == 0
    listed = capsys.readouterr().out
    assert key not in listed
    assert any(row["key_id"] in line and "revoked" in line for line in listed.splitlines())
    assert "rung while talking by door side-*" in listed
    assert 'shown as "Gate"' in listed
    assert code_of(mint(site, key, "gate")) == (401, "key_revoked")
    assert main(["engine", "key", "revoke", "key_none", *where]) == 1
    assert "No app key has this id; `utdstream engine key list` shows the ids" in capsys.readouterr().err
    assert main(["engine", "key", "revoke", "gate", *where]) == 1
    assert f"gate is no id; its keys are {row['key_id']}" in capsys.readouterr().err


def test_key_when_it_goes_into_a_file_is_there_for_its_owner_alone(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And on no screen. Where no file can be, no key is made."""
    (secret := tmp_path / "secret").write_text(site.stack.app_secret)
    engine = ("--base-url", site.stack.base_url, "--app-id", site.stack.app_id)
    where = (*engine, "--app-secret-file", str(secret))
    file = tmp_path / "shed.key"
    assert main(["engine", "key", "add", "shed", *where, "--out", str(file)]) == 0
    key = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in capsys.readouterr().out
    assert mint(site, key, "shed")[0] == 200
    assert main(["engine", "key", "add", "barn", *where, "--out", str(tmp_path / "none" / "barn.key")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["engine", "key", "list", *where]) == 0
    assert "barn" not in capsys.readouterr().out


def test_open_key_when_on_beyond_loopback_is_said_by_the_log(tmp_path: Path) -> None:
    """A warning that names the remedy; LocalStack alone stays quiet."""
    from dataclasses import replace

    from utdstream.engine.stack.settings import StackSettings, new_project
    from utdstream.engine.stack.supervisor import Supervisor

    for open_key, is_said in ((True, True), (None, False)):
        folder = tmp_path / str(open_key)
        project = replace(new_project(), open_key=open_key)
        with Supervisor(StackSettings(folder=folder, lan=True, project=project, logs=None)) as running:
            log = running.settings.log("engine").read_text()
        assert ("open_key is on" in log) is is_said
        assert project.app_key not in log


def test_broker_when_the_key_is_revoked_lets_its_login_in_no_more(site: Site) -> None:
    """The connection ends at once, its password with it; the login by another key goes on hearing rings."""
    key, other = site.stack.issue_key("twin"), site.stack.issue_key("twin")
    old, new = (login_of(mint(site, one, "twin")) for one in (key, other))
    assert (old.username, old.password) != (new.username, new.password)
    assert old.topic == new.topic
    with EventReader(old) as ended, EventReader(new) as stays:
        site.server().ask("DELETE", routes.key(key_ids_of(site, "twin")[-1]))
        eventually(lambda: not ended.is_connected, "it is thrown out", within_s=1.5)
        call = site.server().call("twin", caller_identity="door")
        stays.wait_for("call_initiated", call.call_id)
        eventually(lambda: ended.refusals, "it is not let in again")
        assert ended.events == []


def test_broker_when_it_was_away_at_the_revocation_hears_of_it(site: Site) -> None:
    """What could not be said is written down, over a death of the engine too."""
    key = site.stack.issue_key("late")
    login = login_of(mint(site, key, "late"))
    site.stack.stop("mqtt")
    site.server().ask("DELETE", routes.key(key_id_of(site, "late")))
    site.stack.kill("engine")
    site.stack.start("mqtt")
    with EventReader(login) as reader:
        site.stack.start("engine")
        eventually(lambda: reader.refusals, "it is thrown out, and not let in again", within_s=8)


def test_broker_when_an_identity_is_banned_and_free_again_lets_it_in_anew(site: Site) -> None:
    """The ban ends the login; the first mint after it makes one that works."""
    key = site.stack.issue_key("rowdy")
    login = login_of(mint(site, key, "rowdy"))
    with EventReader(login) as reader:
        site.server().ask("POST", routes.BAN, {"identity": "rowdy"})
        eventually(lambda: reader.refusals, "it is not let in again")
        site.server().ask("DELETE", routes.BAN, {"identity": "rowdy"})
        assert login_of(mint(site, key, "rowdy")) == login
        eventually(lambda: reader.is_connected, "it is let in")
