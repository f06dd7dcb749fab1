"""Which users the programs of a stack get, and what is said when they get none."""

from __future__ import annotations

import logging
import os
import pwd
from types import SimpleNamespace

import pytest

from utdstream.engine.stack import users
from utdstream.engine.stack.ports import PARTS
from utdstream.engine.stack.users import User


def there_are(monkeypatch: pytest.MonkeyPatch, *names: str, root: bool = True) -> None:
    """These users are on the machine, and this process is root's."""

    def look(name: str) -> object:
        if name not in names:
            raise KeyError(name)
        return SimpleNamespace(pw_uid=900 + names.index(name), pw_gid=950)

    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(pwd, "getpwnam", look)


def test_programs_when_nobody_made_their_users_are_named_in_a_short_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, that names the page with the command; and the programs run as before."""
    there_are(monkeypatch, "utd-mqtt")
    assert users.find(PARTS) == {"mqtt": User(900, 950)}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(
        "livekit and engine run as root; 'By hand as root' in docs/how-to/self-hosting.md"
    )
    assert len(record.message) < 120


def test_engine_when_its_user_cannot_read_the_program_stays_with_root(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkout in the home of root, for example; the others are not concerned."""
    there_are(monkeypatch, *(f"utd-{part}" for part in PARTS))
    monkeypatch.setattr(users, "can_run_python", lambda user: False)
    assert set(users.find(PARTS)) == {"livekit", "mqtt"}
    assert "the engine runs as root" in caplog.text
    monkeypatch.setattr(users, "can_run_python", lambda user: True)
    assert set(users.find(PARTS)) == set(PARTS)


def test_users_when_another_than_root_starts_the_stack_are_not_looked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It can become nobody else."""
    there_are(monkeypatch, root=False)
    assert users.find(PARTS) == {}
    assert caplog.records == []
