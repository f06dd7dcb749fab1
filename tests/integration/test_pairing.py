"""A device is paired by a code: whom it talks to then, what is left when something goes wrong, who is kept out."""

from __future__ import annotations

import json
import sqlite3
import stat
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from authority import Authority, TlsDoor
from between import Between
from pairings import Owner, clear_url, drafts_in, pair_in, stack_settings
from small_engine import Answer, Hangup, Request, SmallEngine, reply

from utdstream import (
    DeadlineExceeded,
    EngineUnreachable,
    InvalidConfig,
    PairingFailed,
    TransportError,
)
from utdstream._wire import routes
from utdstream._wire.pairing import Meeting, read_code, secrets_of
from utdstream.engine.stack.settings import StackSection, StackSettings, TlsSection, new_project
from utdstream.engine.stack.supervisor import Supervisor
from utdstream.pairing import NOT_PROVEN, Paired
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]


@pytest.fixture(scope="module")
def encrypted(proxy: None, authority: Authority) -> Iterator[LocalStack]:
    """A stack that speaks TLS with a certificate of the tests' authority, without an open key."""
    with LocalStack(authority=authority.folder, open_key=False) as running:
        yield running


@pytest.fixture
def owner(stack: LocalStack) -> Owner:
    return Owner.of(stack)


@pytest.fixture
def tls_owner(encrypted: LocalStack) -> Owner:
    return Owner.of(encrypted)


def sign_in(paired: Paired) -> None:
    """Signs in with what the pairing left. Without a client: a process has one CA file for the media core."""
    headers = {
        routes.HEADER_APP_ID: paired.app_id,
        routes.HEADER_APP_KEY: paired.app_key_file.read_text().strip(),
    }
    answer = requests.post(
        paired.base_url + routes.AUTH_SESSION,
        json={"identity": paired.identity},
        headers=headers,
        verify=True if paired.ca_file is None else str(paired.ca_file),
        timeout=5,
    )
    assert answer.status_code == 200, answer.text


# --- it works


def test_device_when_paired_by_an_address_with_a_code_signs_in_with_what_it_got(
    tls_owner: Owner, authority: Authority, tmp_path: Path
) -> None:
    """Key, authority and settings are there, for its owner to read; the engine knows it by its name."""
    offer = tls_owner.offer("kitchen", name="Kitchen", display_name="Die Küche")
    (tmp_path / "doorbell.toml").write_text('# mine\n[doorbell]\ncallees = ["house"]\n')
    paired = pair_in(tmp_path, offer.url)
    sign_in(paired)
    assert (paired.identity, paired.display_name) == ("kitchen", "Die Küche")
    assert stat.S_IMODE(paired.app_key_file.stat().st_mode) == 0o600
    assert paired.ca_file is not None
    assert paired.ca_file.read_text() == authority.ca_file.read_text()
    settings = (tmp_path / "doorbell.toml").read_text()
    assert settings.startswith("# mine\n")
    assert tomllib.loads(settings) == {
        "doorbell": {"callees": ["house"]},
        "engine": {
            "base_url": paired.base_url,
            "app_id": paired.app_id,
            "app_key_file": "app_key",
            "ca_file": "engine-ca.pem",
        },
        "device": {"identity": "kitchen", "name": "Die Küche"},
    }
    row = tls_owner.row(offer)
    assert (row["state"], row["address"], row["key_id"]) == ("used", "127.0.0.1", paired.key_id)
    assert tls_owner.keys_of("kitchen") == [paired.key_id]
    assert drafts_in(tmp_path) == []


def test_device_when_it_types_a_code_is_paired_on_loopback_without_tls(
    owner: Owner, stack: LocalStack, tmp_path: Path
) -> None:
    """In any case and with blanks; there is no authority then, and an old one is not named any more."""
    (tmp_path / "doorbell.toml").write_text('[engine]\nca_file = "old.pem"\n')
    offer = owner.offer("typist")
    paired = pair_in(tmp_path, offer.code.lower().replace("-", " "), base_url=stack.base_url)
    sign_in(paired)
    assert paired.ca_file is None
    assert not (tmp_path / "engine-ca.pem").exists()
    assert "ca_file" not in tomllib.loads((tmp_path / "doorbell.toml").read_text())["engine"]


def test_device_when_the_certificate_is_of_a_public_authority_needs_no_file(
    proxy: None, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine proves that it has none of its own, and the system's authorities decide; here one that is unknown
    to them is refused first.
    """
    certificate, key = authority.issue()
    tls = TlsSection(certificate=certificate, key=key)
    public = StackSection(public_url="https://localhost:1")
    settings = StackSettings(folder=tmp_path / "data", project=new_project(), tls=tls, public=public)
    with Supervisor(settings) as running:
        owner = Owner(running.settings)
        offer = owner.offer("public")
        assert offer.url.startswith("https://localhost:1/pair#")
        there = f"https://localhost:{running.settings.ports.https}"
        with pytest.raises(PairingFailed) as caught:
            pair_in(tmp_path, offer.code, base_url=there)
        assert caught.value.code == NOT_PROVEN
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
        assert pair_in(tmp_path, offer.code, base_url=there).ca_file is None


def test_engine_when_devices_would_speak_in_clear_on_a_network_makes_no_code(
    programs: None, tmp_path: Path
) -> None:
    """It says what to do instead."""
    public = StackSection(public_url="http://192.0.2.10:8080")
    with Supervisor(StackSettings(folder=tmp_path, project=new_project(), public=public)) as running:
        project = running.settings.project
        answer = requests.post(
            clear_url(running.settings) + routes.PAIRINGS,
            json={"identity": "kitchen"},
            headers={routes.HEADER_APP_ID: project.app_id, routes.HEADER_APP_SECRET: project.app_secret},
            timeout=5,
        )
    assert (answer.status_code, answer.json()["code"]) == (409, "tls_required")
    assert "--tls" in answer.json()["message"]


# --- a code that is no good


def test_code_when_used_expired_withdrawn_or_unknown_pairs_nobody_and_says_which(
    owner: Owner, stack: LocalStack, tmp_path: Path
) -> None:
    """One typed error with a code each; what the device has already stays, and no key is made."""
    used, withdrawn = owner.offer("used"), owner.offer("withdrawn")
    first = tmp_path / "first"
    pair_in(first, used.url)
    assert owner.withdraw(withdrawn)["state"] == "withdrawn"
    assert owner.withdraw(used)["state"] == "used", "what is over stays as it is"
    (tmp_path / "app_key").write_text("the key of before")
    codes = {}
    for name, code in {
        "used": used.code,
        "withdrawn": withdrawn.code,
        "unknown": "7BH6-J0WX-DYAK-RKN8-390T",
    }.items():
        with pytest.raises(PairingFailed) as caught:
            pair_in(tmp_path, code, base_url=stack.base_url)
        codes[name] = caught.value.code
        assert code not in caught.value.message
    assert codes == {
        "used": "pairing_code_used",
        "withdrawn": "pairing_code_withdrawn",
        "unknown": "pairing_code_wrong",
    }
    assert (tmp_path / "app_key").read_text() == "the key of before"
    assert drafts_in(tmp_path) == []
    assert len(owner.keys_of("used")) == 1
    assert owner.keys_of("withdrawn") == []


def test_code_when_proven_wrongly_five_times_is_ended_for_everybody(
    owner: Owner, stack: LocalStack, tmp_path: Path
) -> None:
    """By whoever sees its id, as one does who stands in between: the right device is refused, and told why."""
    offer = owner.offer("locked")
    where = stack.base_url + routes.pairing_action(offer.pairing_id, "complete")
    claim = {"nonce": "0" * 32, "key_digest": "0" * 64, "proof": "0" * 64}
    answers = [requests.post(where, json=claim, timeout=5) for _ in range(5)]
    assert [answer.json()["code"] for answer in answers] == ["pairing_code_wrong"] * 4 + [
        "pairing_code_locked"
    ]
    with pytest.raises(PairingFailed, match="wrong attempts") as caught:
        pair_in(tmp_path, offer.url)
    assert caught.value.code == "pairing_code_locked"
    assert owner.row(offer)["state"] == "locked"
    assert owner.keys_of("locked") == []
    assert "ended by 5 wrong attempts, the last from 127.0.0.1" in stack.logs("engine")


@pytest.mark.parametrize(
    ("code", "base_url", "words"),
    [
        ("7BH6-J0WX-DYAK-RKN8-390V", "http://127.0.0.1:1", "mistyped"),
        ("7BH6-J0WX-DYAK-RKN8-390T", None, "base_url"),
        ("http://192.168.1.10:8080/pair#7BH6-J0WX-DYAK-RKN8-390T", None, "in clear"),
        ("7BH6-J0WX-DYAK-RKN8-390T", "http://engine.example.com", "in clear"),
        ("https://192.168.1.10:99999/pair#7BH6-J0WX-DYAK-RKN8-390T", None, "must be an address"),
        ("https://192.168.1.10:8443/other#7BH6-J0WX-DYAK-RKN8-390T", None, "must be an address"),
        ("ftp://192.168.1.10/pair#7BH6-J0WX-DYAK-RKN8-390T", None, "must look like"),
    ],
)
def test_code_when_it_cannot_be_one_is_refused_before_anybody_is_asked(
    tmp_path: Path, code: str, base_url: str | None, words: str
) -> None:
    """A slip of the fingers costs no attempt, and the code stands in no message."""
    with pytest.raises(InvalidConfig, match=words) as caught:
        pair_in(tmp_path, code, base_url=base_url)
    assert "7BH6" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_offer_when_asked_for_wrongly_is_not_made(owner: Owner, stack: LocalStack) -> None:
    """A pattern is nobody; only the secret's holder makes codes."""
    for identity, lasts_s in (("kiosk-*", 600), ("a b", 600), ("kiosk", 5), ("kiosk", 3601)):
        with pytest.raises(AssertionError, match="validation_failed"):
            owner.offer(identity, expires_in=lasts_s)
    headers = {routes.HEADER_APP_ID: stack.app_id, routes.HEADER_APP_KEY: stack.app_key}
    answer = requests.post(
        stack.base_url + routes.PAIRINGS, json={"identity": "x"}, headers=headers, timeout=5
    )
    assert answer.status_code in (401, 403)


# --- something goes wrong in the middle


def test_device_when_the_answer_is_lost_asks_again_and_has_one_key(
    owner: Owner, between: Between, tmp_path: Path
) -> None:
    """The engine did it, the device could not know."""
    between.lose_answers("/complete", times=1)
    paired = pair_in(tmp_path, owner.offer("lossy").code, base_url=between.url)
    assert owner.keys_of("lossy") == [paired.key_id]
    sign_in(paired)


def test_device_when_it_gave_up_ends_the_same_pairing_at_the_next_attempt(
    owner: Owner, between: Between, stack: LocalStack, tmp_path: Path
) -> None:
    """The key that the engine let in is kept aside, and is the one that the device has in the end."""
    offer = owner.offer("patient")
    between.lose_answers("/complete")
    with pytest.raises(TransportError) as caught:
        pair_in(tmp_path, offer.code, base_url=between.url, timeout=1.5)
    assert isinstance(caught.value, (EngineUnreachable, DeadlineExceeded))
    assert not (tmp_path / "app_key").exists()
    assert len(drafts_in(tmp_path)) == 1
    paired = pair_in(tmp_path, offer.code, base_url=stack.base_url)
    assert owner.keys_of("patient") == [paired.key_id]
    assert drafts_in(tmp_path) == []
    sign_in(paired)


@pytest.mark.parametrize("when", ["before", "after"])
def test_device_when_the_engine_is_killed_in_the_middle_is_paired_once(
    own_stack: LocalStack, tmp_path: Path, when: str
) -> None:
    """`kill -9` just before the engine lets the key in, and just after: one key, which the device has."""
    owner = Owner.of(own_stack)
    offer = owner.offer(f"killed-{when}")
    killed = []

    def kill() -> None:
        if not killed:
            killed.append(True)
            own_stack.kill("engine")
            own_stack.start("engine")
            raise Hangup

    with closing(Between(own_stack)) as between:
        (between.before if when == "before" else between.after)("/complete", kill)
        paired = pair_in(
            tmp_path, offer.code, base_url=between.url, timeout=90
        )  # the engine starts meanwhile
        sign_in(paired)
    assert killed
    assert owner.keys_of(f"killed-{when}") == [paired.key_id]
    assert owner.row(offer)["state"] == "used"


# --- somebody else on the line


def test_device_when_somebody_stands_in_between_and_passes_all_on_is_not_paired(
    tls_owner: Owner, encrypted: LocalStack, tmp_path: Path
) -> None:
    """The engine's own proof comes through, with its authority: by that one the other certificate is refused."""
    engine = stack_settings(encrypted).ports.engine
    offer = tls_owner.offer("between")
    with TlsDoor(engine or 0, Authority(tmp_path, "foreign").issue()) as door:
        with pytest.raises(PairingFailed, match="stand in between") as caught:
            pair_in(tmp_path / "device", offer.code, base_url=f"https://localhost:{door.port}")
        assert door.passed == 1, "the first request, without a secret in it; no other"
    assert caught.value.code == NOT_PROVEN
    assert list((tmp_path / "device").iterdir()) == []
    assert tls_owner.keys_of("between") == []
    assert tls_owner.row(offer)["state"] == "open"
    sign_in(pair_in(tmp_path / "device", offer.url))


@pytest.mark.parametrize("lie", ["authority", "no authority", "own proof", "nonsense", "surrogates"])
def test_device_when_it_is_told_a_lie_about_the_authority_is_not_paired(
    tls_owner: Owner, encrypted: LocalStack, tmp_path: Path, lie: str
) -> None:
    """Whoever puts its own authority into the answer cannot prove it, not even knowing all that passes."""
    foreign = Authority(tmp_path, "foreign")
    clear = clear_url(stack_settings(encrypted))
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        asked.append(request.path)
        found = requests.post(clear + request.path, data=request.body, timeout=5).json()
        body = json.loads(request.body)
        own = foreign.ca_file.read_text()
        if lie == "nonsense":
            return reply({**found, "proof": None})
        if lie == "surrogates":
            return reply({**found, "ca": "\ud800", "proof": "\ud800"})
        ca = None if lie == "no authority" else own
        if lie == "own proof":
            guessed = secrets_of(read_code("7BH6-J0WX-DYAK-RKN8-390T") or "")
            meeting = Meeting(body["nonce"], found["nonce"], found["app_id"], ca)
            return reply({**found, "ca": ca, "proof": meeting.engine_proof(guessed)})
        return reply({**found, "ca": ca})

    liar = SmallEngine()
    liar.respond = answer
    try:
        offer = tls_owner.offer("lied-to")
        port = int(liar.url.rsplit(":", 1)[1])
        with (
            TlsDoor(port, foreign.issue()) as door,
            pytest.raises(PairingFailed, match="stand in between") as caught,
        ):
            pair_in(tmp_path / "device", offer.code, base_url=f"https://localhost:{door.port}")
    finally:
        liar.close()
    assert caught.value.code == NOT_PROVEN
    assert [path.rpartition("/")[2] for path in asked] == ["meet"]
    assert list((tmp_path / "device").iterdir()) == []


def test_log_when_devices_were_paired_holds_neither_code_nor_key(
    owner: Owner, stack: LocalStack, tmp_path: Path
) -> None:
    """Nor the id by which a code is named, nor what the proofs are made with."""
    offer = owner.offer("logged-kitchen")
    paired = pair_in(tmp_path, offer.url)
    log = stack.logs("engine")
    made = secrets_of(read_code(offer.code) or "")
    assert paired.key_id in log
    key = paired.app_key_file.read_text().strip()
    for secret in (offer.code, offer.code[:9], key, made.id, made.engine, made.device):
        assert secret not in log


def test_code_when_it_has_run_out_says_so(own_stack: LocalStack, tmp_path: Path) -> None:
    """Its time is told by the engine's clock."""
    owner = Owner.of(own_stack)
    offer = owner.offer("late", expires_in=10)
    database = stack_settings(own_stack).database
    own_stack.stop("engine")
    with sqlite3.connect(database) as db:
        db.execute("UPDATE pairings SET expires_ms = expires_ms - 11000")
    db.close()
    own_stack.start("engine")
    assert owner.row(offer)["state"] == "expired"
    with pytest.raises(PairingFailed, match="run out") as caught:
        pair_in(tmp_path, offer.url)
    assert caught.value.code == "pairing_code_expired"
