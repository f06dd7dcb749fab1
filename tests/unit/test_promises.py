"""What a public method that can wait promises in its docstring: how long it blocks, and what it raises."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))

from generators import names

EXEMPT = {
    "accept_invitation",
    "approve_speaker",
    "audio_frames",
    "busy",
    "cancel_request",
    "decline_invitation",
    "disconnect",
    "dispose",
    "get_seats",
    "invite_to_speak",
    "invite_to_stage",
    "kick_seat",
    "leave",
    "lock_seat",
    "move_seat",
    "mute_seat",
    "refresh_stage",
    "reject_speaker",
    "remove_from_stage",
    "request_stage",
    "request_to_speak",
    "send_data",
    "set_camera",
    "set_microphone",
    "setup_seats",
    "snapshot",
    "stats",
    "unlock_seat",
    "unmute_seat",
    "video_frames",
}
"""To be emptied: methods of sessions, rooms and inboxes whose docstring does not say it yet."""


def waiting() -> dict[str, list[str]]:
    """Each public function that takes `timeout` or iterates, with what it and those it overrides say."""
    found: dict[str, list[str]] = {}
    for module, offered in names.names_by_module().items():
        for name in offered:
            value = getattr(import_module(module), name)
            functions = vars_of(value) if inspect.isclass(value) else [value]
            for function in functions:
                if inspect.isfunction(function) and can_wait(function):
                    mro = value.__mro__ if inspect.isclass(value) else ()
                    bodies = [
                        vars(kind)[function.__name__] for kind in mro if function.__name__ in vars(kind)
                    ]
                    found[function.__qualname__] = [body.__doc__ or "" for body in bodies or [function]]
    return found


def vars_of(kind: type) -> list[object]:
    return [getattr(kind, member) for member in dir(kind) if not member.startswith("_")]


def can_wait(function: FunctionType) -> bool:
    signature = inspect.signature(function)
    return "timeout" in signature.parameters or str(signature.return_annotation).startswith("Iterator")


@pytest.mark.parametrize(
    ("name", "said"), list(waiting().items()), ids=lambda value: value if value == str(value) else ""
)
def test_docstring_when_a_public_method_can_wait_says_how_long_and_what_it_raises(
    name: str, said: list[str]
) -> None:
    """Its own, or that of the method it overrides."""
    promised = any("Blocks:" in text and "Raises:" in text for text in said)
    assert promised or name.split(".")[-1] in EXEMPT
