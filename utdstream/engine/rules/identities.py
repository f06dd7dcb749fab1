"""What an identity may look like: nothing that a person, a log or a screen takes for another one.

Owns: `identity_fault`. Pure. Imports precis-i18n, and late, for an identity that is not ASCII, Unicode's tables in
confusable-homoglyphs.

1. The profile UsernameCasePreserved of PRECIS (RFC 8265): letters and digits of any script, the signs of ASCII, no
   blank, no emoji, nothing invisible, no change of direction. Case counts.
2. What the profile would only mend (another normal form, wide letters) is refused too: a client that goes on under
   the name that it sent would not know itself in the engine's answers.
3. One script, but for those that Chinese, Japanese and Korean are written in. Marks over a letter where a
   language has no letter for both: not in Latin, Greek and Cyrillic.
4. What is not ASCII must not look like it (Unicode Technical Standard 39): in Latin no letter, else not each of
   them. Cyrillic has a whole `pop`, Latin a `door` of small capitals.

Joiners of zero width, which the profile lets stand in some Indic words, change too little that is seen.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from precis_i18n import get_profile

_PROFILE = get_profile("UsernameCasePreserved")
_COMMON, _INHERITED, _LATIN = "COMMON", "INHERITED", "LATIN"
_WHOLE_LETTERS = {_LATIN, "GREEK", "CYRILLIC"}
_TOGETHER = ({"HAN", "HIRAGANA", "KATAKANA"}, {"HAN", "BOPOMOFO"}, {"HAN", "HANGUL"})
_INSTEAD = "use letters, digits and signs such as - _ ."


def identity_fault(identity: str) -> str | None:
    """Returns why nobody can have this identity, as a sentence without its subject; None: it can be had."""
    if identity.isascii() and identity.isprintable() and " " not in identity:
        return None
    return _character_fault(identity) or _script_fault(identity)


def _character_fault(identity: str) -> str | None:
    for character in identity:
        if unicodedata.category(character) == "Zs":
            return f"must not hold blanks; write {'-'.join(identity.split())}"
        if unicodedata.category(character) == "Cf":
            return f"must not hold {_named(character)}, which nobody sees; {_INSTEAD}"
    try:
        enforced = _PROFILE.enforce(identity)
    except UnicodeEncodeError as error:
        if error.reason.endswith("bidi_rule"):
            return "must not mix letters that are written to the right and to the left; use one kind"
        return f"must not hold {_named(identity[error.start])}; {_INSTEAD}"
    if enforced != identity:
        return f"must be in normal form C and without wide letters; send {enforced!r}"
    return None


def _script_fault(identity: str) -> str | None:
    from confusable_homoglyphs import categories

    script_of = {character: categories.alias(character) for character in identity}
    scripts = set(script_of.values()) - {_COMMON, _INHERITED}
    is_east_asian = any(scripts & together for together in _TOGETHER)
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        return f"must not mix letters of {' and '.join(sorted(map(str.title, scripts)))}; use one script"
    for character, script in script_of.items():
        kind = unicodedata.category(character)[0]
        if kind == "M" and (character == identity[0] or scripts <= _WHOLE_LETTERS):
            return f"must not hold {_named(character)} here; {_INSTEAD}"
        if kind == "L" and script == _COMMON and not is_east_asian:
            return f"must not hold {_named(character)}, which is a letter of no script; {_INSTEAD}"
    alike = [character.isascii() or character in _ascii_look_alikes() for character in identity]
    if all(alike) or (scripts <= {_LATIN} and not _ascii_look_alikes().isdisjoint(identity)):
        return "is not ASCII and looks as if it were; write it in ASCII, or choose another"
    return None


def _named(character: str) -> str:
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'no name')})"


@cache
def _ascii_look_alikes() -> frozenset[str]:
    """Every character that Unicode lists as confusable with one of ASCII. The list itself, 15 MB, is not kept."""
    from confusable_homoglyphs.utils import load

    return frozenset(
        character
        for character, likes in load("confusables.json").items()
        if not character.isascii() and any(len(like["c"]) == 1 and like["c"].isascii() for like in likes)
    )
