"""A pairing code: how it is written and read, and what its proofs hold together."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from utdstream._wire.pairing import (
    CODE_BITS,
    SIGNS,
    Meeting,
    code_of,
    read_code,
    secrets_of,
)

NUMBER = 0x1234_5678_9ABC_DEF0_1234_567
CODE = code_of(NUMBER)
SECRETS = secrets_of(read_code(CODE) or "")
MEETING = Meeting("0" * 32, "1" * 32, "1234567890", "-----BEGIN CERTIFICATE-----\n")


def test_code_when_written_is_five_groups_and_holds_95_bits() -> None:
    """Nineteen random signs and one of the check: no sign of it can be left to chance twice."""
    assert [len(group) for group in CODE.split("-")] == [4] * 5
    assert CODE_BITS == 95
    assert len({code_of(1 << bit) for bit in range(CODE_BITS)}) == CODE_BITS


@pytest.mark.parametrize(
    "typed",
    [CODE.lower(), CODE.replace("-", ""), CODE.replace("-", " "), f"  {CODE}\n"],
)
def test_code_when_typed_in_another_way_is_the_same(typed: str) -> None:
    """People leave out hyphens and shift keys."""
    assert read_code(typed) == CODE.replace("-", "")


def test_code_when_letters_are_taken_for_digits_is_the_same() -> None:
    """The alphabet has no I, L and O: they are read as what they look like."""
    code = next(each for each in map(code_of, range(10_000)) if "1" in each and each.count("0") > 1)
    assert read_code(code.replace("0", "o").replace("1", "l")) == read_code(code)


@pytest.mark.parametrize(
    "typed", ["", CODE[:-1], f"{CODE}0", "https://192.0.2.1:8443", CODE.replace("-", "ü")]
)
def test_code_when_it_is_none_is_not_read(typed: str) -> None:
    """Too short, too long, with signs of another kind."""
    assert read_code(typed) is None


def test_code_when_one_sign_is_mistyped_is_mostly_noticed() -> None:
    """One slip in 32 goes unnoticed; the engine knows no such code then."""
    signs = CODE.replace("-", "")
    slips = [
        signs[:at] + other + signs[at + 1 :]
        for at in range(len(signs))
        for other in SIGNS
        if other != signs[at]
    ]
    unnoticed = sum(read_code(slip) is not None for slip in slips)
    assert unnoticed < len(slips) / 16
    assert secrets_of(slips[0]).id != SECRETS.id


def test_secrets_when_made_of_a_code_are_three_and_show_in_no_repr() -> None:
    """The id may be seen; nothing else that is made of a code is."""
    assert len({SECRETS.id, SECRETS.engine[:16], SECRETS.device[:16]}) == 3
    assert SECRETS.engine not in repr(SECRETS)
    assert SECRETS.device not in repr(SECRETS)


@pytest.mark.parametrize(
    "other",
    [
        replace(MEETING, device_nonce="2" * 32),
        replace(MEETING, engine_nonce="2" * 32),
        replace(MEETING, app_id="1234567891"),
        replace(MEETING, ca="-----BEGIN CERTIFICATE-----\n "),
        replace(MEETING, ca=None),
    ],
)
def test_proof_when_anything_of_the_meeting_differs_is_another(other: Meeting) -> None:
    """Neither can be carried over to another authority, project, engine or device."""
    assert other.engine_proof(SECRETS) != MEETING.engine_proof(SECRETS)
    assert other.device_proof(SECRETS, "d" * 64) != MEETING.device_proof(SECRETS, "d" * 64)


def test_proof_when_of_one_side_is_never_the_others() -> None:
    """Sent back, a proof proves nothing; and one key's is no other key's."""
    same = replace(SECRETS, device=SECRETS.engine)
    assert MEETING.engine_proof(same) != MEETING.device_proof(same, "engine")
    assert MEETING.device_proof(SECRETS, "d" * 64) != MEETING.device_proof(SECRETS, "e" * 64)
    other = secrets_of(read_code(code_of(secrets.randbits(CODE_BITS))) or "")
    assert MEETING.engine_proof(SECRETS) != MEETING.engine_proof(other)


def test_proofs_when_made_of_this_code_are_these() -> None:
    """Whoever writes the other end, in JavaScript say, can compare; and no release changes them."""
    assert CODE == "7BH6-J0WX-DYAK-RKN8-390T"
    assert SECRETS.id == "faa2353bec63af2b"
    assert MEETING.engine_proof(SECRETS).startswith("c1306bf19e86ab60")
    assert MEETING.device_proof(SECRETS, "d" * 64).startswith("1a9165a76ef3a6a3")
