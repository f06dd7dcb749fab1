"""What becomes of a pairing code, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from utdstream._wire.pairing import Meeting, code_of, read_code, secrets_of
from utdstream.engine import config
from utdstream.engine.clock import EPOCH
from utdstream.engine.rules import pairing as rules
from utdstream.engine.rules.keys import KeyTerms
from utdstream.engine.rules.pairing import MAX_WRONG, Ended, Pairing
from utdstream.engine.rules.refusals import Refusal

SECRETS = secrets_of(read_code(code_of(12345)) or "")
TERMS = KeyTerms("kitchen", "Kitchen", False, ("*",), "Kitchen", ())
OPEN = Pairing(SECRETS, "e" * 32, TERMS, "mark", EPOCH, EPOCH + timedelta(minutes=10))
USED = replace(OPEN, ended="used", digest="d" * 64, key_id="key_1", paired_at=EPOCH)
MEETING = Meeting("d" * 32, OPEN.nonce, "1234567890", None)


def test_code_when_open_is_met_until_its_last_millisecond() -> None:
    """Then it says that it has run out."""
    assert rules.check_meeting(OPEN, OPEN.expires_at - timedelta(milliseconds=1)) is OPEN
    with pytest.raises(Refusal) as refusal:
        rules.check_meeting(OPEN, OPEN.expires_at)
    assert (refusal.value.status, refusal.value.code) == (410, "pairing_code_expired")


@pytest.mark.parametrize("ended", ["withdrawn", "locked"])
def test_code_when_over_says_why_also_after_its_time(ended: Ended) -> None:
    """Each has a code of its own, and says what to do."""
    for moment in (EPOCH, EPOCH + timedelta(hours=1)):
        with pytest.raises(Refusal, match="utdstream engine pair") as refusal:
            rules.check_meeting(replace(OPEN, ended=ended), moment)
        assert (refusal.value.status, refusal.value.code) == (410, f"pairing_code_{ended}")


def test_code_when_nobody_made_it_is_wrong() -> None:
    """As a proof is that is wrong: nothing tells the two apart but the sentence."""
    with pytest.raises(Refusal) as refusal:
        rules.check_meeting(None, EPOCH)
    assert (refusal.value.status, refusal.value.code) == (403, "pairing_code_wrong")


def test_proof_when_of_another_key_is_none() -> None:
    """Whoever stands in between cannot put in a key of its own."""
    proof = MEETING.device_proof(SECRETS, "d" * 64)
    assert rules.is_proven(OPEN, MEETING, "d" * 64, proof)
    assert not rules.is_proven(OPEN, MEETING, "e" * 64, proof)
    assert not rules.is_proven(OPEN, MEETING, "d" * 64, MEETING.engine_proof(SECRETS))


def test_code_when_proven_wrongly_five_times_is_locked() -> None:
    """The fifth refusal says so itself."""
    pairing, codes = OPEN, []
    for _ in range(MAX_WRONG):
        pairing = rules.failed(pairing)
        codes.append(rules.wrong_proof(pairing).code)
    assert codes == ["pairing_code_wrong"] * 4 + ["pairing_code_locked"]
    assert pairing.state(EPOCH) == "locked"


def test_code_when_used_is_the_same_devices_again_and_nobody_elses() -> None:
    """Its answer may have been lost; wrong proofs do not lock it out."""
    pairing = USED
    for _ in range(MAX_WRONG + 1):
        pairing = rules.failed(pairing)
    assert rules.check_meeting(pairing, EPOCH + timedelta(hours=1)) is pairing
    assert rules.is_again(pairing, "d" * 64)
    with pytest.raises(Refusal) as refusal:
        rules.is_again(pairing, "e" * 64)
    assert (refusal.value.status, refusal.value.code) == (410, "pairing_code_used")
    assert not rules.is_again(OPEN, "d" * 64)


def test_code_when_the_secret_it_was_made_with_is_rotated_is_withdrawn() -> None:
    """A thief of the secret may have made it. One that was used stays its device's."""
    assert OPEN.under("mark") is OPEN
    assert OPEN.under("another").state(EPOCH) == "withdrawn"
    assert USED.under("another") is USED


def test_pairing_when_shown_holds_nothing_to_pair_with() -> None:
    """Neither in a repr nor in the answers."""
    for shown in (repr(USED), str(rules.row(USED, EPOCH))):
        assert SECRETS.engine not in shown
        assert SECRETS.device not in shown
    assert rules.row(USED, EPOCH)["state"] == "used"


@pytest.mark.parametrize(
    ("host", "public_url", "base_url", "is_loopback"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8080", True),
        ("::1", None, "http://[::1]:8080", True),
        ("0.0.0.0", None, "http://0.0.0.0:8080", False),
        ("127.0.0.1", "http://192.168.1.10:8080/", "http://192.168.1.10:8080", False),
        ("127.0.0.1", "https://engine.example.com", "https://engine.example.com", False),
        ("0.0.0.0", "http://localhost:8080", "http://localhost:8080", True),
    ],
)
def test_engine_when_its_address_is_told_is_that_of_devices(
    host: str, public_url: str | None, base_url: str, is_loopback: bool
) -> None:
    """Whether devices would speak in clear on a network is told by the address that they are given."""
    section = config.EngineSection("db", "secret", host=host, public_url=public_url)
    assert (section.base_url, section.is_loopback) == (base_url, is_loopback)
