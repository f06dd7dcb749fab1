"""Which identities can be had: none that a person or a log takes for another one."""

from __future__ import annotations

import pytest

from utdstream.engine.rules.identities import identity_fault


@pytest.mark.parametrize(
    "identity",
    [
        "door",
        "Door-1",
        "user_42@example.com",
        "a/b#c+d%2F*",
        "Tür",
        "straße",
        "дверь-2",
        "θύρα",
        "باب",
        "باب-1",
        "דלת",
        "ประตู",
        "दरवाज़ा",
        "문",
        "玄関ドア",
        "ドアー1",
        "前门",
    ],
)
def test_identity_when_in_one_script_is_taken(identity: str) -> None:
    """Of whatever language; digits and signs belong to each."""
    assert identity_fault(identity) is None


@pytest.mark.parametrize(
    "identity",
    [
        "d\u043eor",
        "\u0501\u043e\u043e\u0433",
        "d\u1d0f\u1d0fr",
        "\ua4d3\ua4f3\ua4f3\ua4e3",
        "k\u0131osk",
        "d\u06f5\u06f5r",
        "door\u02bc",
        "t\u00fcr\u0251",
        "ki\u0307osk",
        "\uff44\uff4f\uff4f\uff52",
        "door\u30fc1",
        "\u03bf",
        "t\u00fc\u0440",
    ],
    ids=ascii,
)
def test_identity_when_it_looks_like_another_is_refused(identity: str) -> None:
    """Letters of two scripts, a whole word in a script that looks like ASCII, small capitals, wide letters."""
    assert identity_fault(identity)


@pytest.mark.parametrize(
    "identity",
    [
        "door\u200b",
        "do\u200dor",
        "do\u200cor",
        "do\u00ador",
        "\ufeffdoor",
        "door\U000e0041",
        "\u3164",
        "door\u034f",
        "door\ufe0f",
        "door\u2060",
        "door\u180e",
        "\u202erood",
        "do\u2066or",
        "door\u061c",
        "\u115f",
        "door\u2800",
    ],
    ids=ascii,
)
def test_identity_when_something_in_it_is_not_seen_is_refused_by_its_name(identity: str) -> None:
    """Zero width, fillers, tags and changes of direction; the sentence shows which, never the character."""
    fault = identity_fault(identity)
    assert fault
    assert "U+" in fault
    assert fault.isascii()


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ("front door", "front-door"),
        ("door ", "blanks"),
        ("door\u00a0", "blanks"),
        ("door\u2028call_1", "U+2028"),
        ("tu\u0308r", "send 't\u00fcr'"),
        ("\u0301door", "COMBINING ACUTE"),
        ("\U0001f6aa", "DOOR"),
        ("\u216b", "ROMAN NUMERAL"),
        ("kiosk-\u0628\u0627\u0628", "to the right and to the left"),
        ("kiosk-\u043b\u043e\u0431\u0431\u0438", "Cyrillic and Latin"),
        ("do\u0378or", "U+0378"),
    ],
    ids=ascii,
)
def test_identity_when_refused_says_what_to_do(identity: str, says: str) -> None:
    """One sentence, whose subject is the field."""
    fault = identity_fault(identity)
    assert fault
    assert says in fault
    assert "\n" not in fault
