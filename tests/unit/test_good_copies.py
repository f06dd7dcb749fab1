"""What holds keys, damaged in every way a power cut knows, and what the next start makes of it."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from damage import KINDS

from utdstream.engine import clock
from utdstream.engine.rules.bans import Ban
from utdstream.engine.stack import broker_files, certificates, data_folder, programs
from utdstream.engine.stack.settings import StackSettings, TlsSection, put_aside_in
from utdstream.engine.store.sqlite.database import open_store
from utdstream.errors import InvalidConfig
from utdstream.whole_files import put_aside, write_whole

SEEDS = range(6)


def load(folder: Path) -> StackSettings:
    """One start, and the ports of it kept."""
    settings, lock = data_folder.load(config=None, data=folder, lan=False)
    data_folder.remember_ports(settings)
    os.close(lock)
    return settings


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_keys_file_when_damaged_comes_back_as_it_was(
    tmp_path: Path, kind: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Identity, keys and ports of before, wherever it was cut; the damaged file lies aside and is named."""
    first = load(tmp_path)
    whole = (tmp_path / "stack.toml").read_bytes()
    KINDS[kind](tmp_path / "stack.toml", random.Random(seed))
    second = load(tmp_path)
    assert (second.project, second.secrets, second.ports) == (first.project, first.secrets, first.ports)
    assert (tmp_path / "stack.toml").read_bytes() == whole
    if kind not in ("missing", "of_wrong_mode"):
        (aside,) = put_aside_in(tmp_path)
        assert aside.name in caplog.text
    for secret in (first.project.app_key, first.project.app_secret, first.secrets.token_secret):
        assert secret not in caplog.text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "of_wrong_mode"])
def test_keys_file_when_it_and_its_copy_are_damaged_is_refused_with_a_sentence(
    tmp_path: Path, kind: str
) -> None:
    """No new keys where old ones were, in silence least of all."""
    load(tmp_path)
    (tmp_path / "engine.db").write_bytes(b"what the keys belong to")
    for name in ("stack.toml", "stack.toml.good"):
        KINDS[kind](tmp_path / name, random.Random(1))
    with pytest.raises(
        InvalidConfig, match=r"put a copy .* back, or move the whole data folder away"
    ) as caught:
        load(tmp_path)
    assert str(tmp_path / "stack.toml") in caught.value.message


def test_keys_file_when_a_person_mistyped_in_it_is_refused_by_its_line_and_stays(tmp_path: Path) -> None:
    """A mistake is no damage: nobody's work is put aside."""
    load(tmp_path)
    file = tmp_path / "stack.toml"
    mistyped = file.read_text().replace("[project]", "[project]\ncall_ring_timeout_s = ")
    file.write_text(mistyped)
    with pytest.raises(InvalidConfig, match="is not TOML"):
        load(tmp_path)
    assert file.read_text() == mistyped
    assert not put_aside_in(tmp_path)


def test_secret_when_rotated_does_not_come_back_with_the_good_copy(tmp_path: Path) -> None:
    """The old one may be known to somebody: the copy is as new as the file."""
    before = load(tmp_path)
    data_folder.rotate(tmp_path, "app_secret")
    after = load(tmp_path)
    (tmp_path / "stack.toml").write_bytes(b"")
    again = load(tmp_path)
    assert again.project.app_secret == after.project.app_secret != before.project.app_secret


@pytest.fixture
def encrypted(tmp_path: Path) -> StackSettings:
    return replace(load(tmp_path), tls=TlsSection(enabled=True))


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "server.pem"])
@pytest.mark.parametrize("kind", KINDS)
def test_authority_when_a_file_of_it_is_damaged_is_the_same(
    encrypted: StackSettings, kind: str, name: str
) -> None:
    """Every device has its `ca.pem`: another one would turn them all away."""
    before = certificates.prepare(encrypted)
    for seed in SEEDS:
        KINDS[kind](encrypted.folder / "tls" / name, random.Random(seed))
        assert certificates.prepare(encrypted).fingerprint == before.fingerprint


PLUGIN = Path("/usr/lib/plugin.so")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("missing", "of_wrong_mode")])
def test_broker_files_when_damaged_are_put_aside_and_named(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The logins of the engine are made again; what the broker kept for devices is of no lasting use."""
    settings = load(tmp_path)
    programs.write_configuration(settings, PLUGIN)
    (tmp_path / "mqtt" / "mosquitto.db").write_bytes(BROKERS)
    for name in ("dynsec.json", "mosquitto.db"):
        KINDS[kind](tmp_path / "mqtt" / name, random.Random(2))
    broker_files.mend(settings)
    assert {path.name.split(".bad-")[0] for path in put_aside_in(tmp_path)} == {"dynsec.json", "mosquitto.db"}
    assert all(path.name in caplog.text for path in put_aside_in(tmp_path))
    assert b'"username": "engine"' in (tmp_path / "mqtt" / "dynsec.json").read_bytes()
    assert not (tmp_path / "mqtt" / "mosquitto.db").exists()


BROKERS = b"\x00\xb5\x00mosquitto db" + struct.pack(">IIII", 0, 6, 1, 16) + b"\x11" * 16
"""The head of a database of mosquitto 2.0.11, and one piece."""


def test_broker_files_when_they_are_in_order_stay(tmp_path: Path) -> None:
    """Also with logins that the engine has made, and a database of a mosquitto to come."""
    settings = load(tmp_path)
    programs.write_configuration(settings, PLUGIN)
    logins, kept = (tmp_path / "mqtt" / name for name in ("dynsec.json", "mosquitto.db"))
    before = logins.read_bytes()
    newer = BROKERS[:22] + b"\x09" + b"of another shape"
    for content in (BROKERS, newer):
        kept.write_bytes(content)
        broker_files.mend(settings)
        assert (kept.read_bytes(), logins.read_bytes()) == (content, before)
    broker_files.mend(settings, could_not_read=True)
    assert not kept.exists()


@contextmanager
def no_room(byte_limit: int = 0) -> Iterator[None]:
    """A disk on which nothing can be written: past this size a write fails, as on a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_file_when_there_is_no_room_for_the_new_one_stays_and_no_draft_is_left(tmp_path: Path) -> None:
    """And when there is room again the same write works."""
    file = tmp_path / "keys"
    write_whole(file, "old")
    with no_room(), pytest.raises(OSError, match="too large"):
        write_whole(file, "new")
    assert (file.read_text(), [path.name for path in tmp_path.iterdir()]) == ("old", ["keys"])
    assert write_whole(file, "new")
    assert file.read_text() == "new"


def test_stack_when_the_disk_is_full_starts_with_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing needs to be written: the same files hold the same."""
    first = load(tmp_path)
    programs.write_configuration(first, PLUGIN)
    with no_room():
        second = load(tmp_path)
        programs.write_configuration(first, PLUGIN)
    assert second.project == first.project
    assert not caplog.records


@pytest.mark.parametrize("command", ["rotate", "first start"])
def test_command_when_the_disk_is_full_is_refused_in_one_sentence_and_changes_nothing(
    tmp_path: Path, command: str
) -> None:
    """What it says can be done: make room, and do it again."""
    if command == "rotate":
        load(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with no_room(), pytest.raises(InvalidConfig, match=r"stack\.toml cannot be written .*make room"):
        data_folder.rotate(tmp_path, "app_secret") if command == "rotate" else load(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == [
        name for name in before if name != ".lock"
    ]
    load(tmp_path)


def test_damaged_files_when_many_were_put_aside_are_the_newest_few(tmp_path: Path) -> None:
    """A card is small, and a sick one damages often."""
    for number in range(9):
        (tmp_path / "x").write_text(str(number))
        put_aside(tmp_path / "x")
    assert len(put_aside_in(tmp_path)) == 3


NOBODY = 65534


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user that root is not, as whom the test goes on."""
    folder = Path(tempfile.mkdtemp(prefix="utdstream-nobody-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
        os.setegid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("wrong", ["mode", "owner"])
def test_files_when_their_user_may_not_read_them_come_back_from_their_good_copies(
    plain_user: Path, wrong: str
) -> None:
    """As after a copy by another user, or a command run as root."""
    if wrong == "owner" and os.geteuid() == os.getuid():
        pytest.skip("a file is given to another owner by root alone: run the tests as root")
    first = load(plain_user)
    database = plain_user / "engine.db"
    with contextlib.closing(open_store(str(database))) as store:
        with store.transaction(lasts=True):
            store.bans.put(Ban(0, "mallory", None, clock.now(), None))
        assert store.copy is not None
        store.copy.take()
    for file in (plain_user / "stack.toml", database):
        file.chmod(0o000)
        if wrong == "owner":
            user = os.geteuid()
            os.seteuid(0)
            os.chown(file, 0, 0)
            os.seteuid(user)
    assert load(plain_user).project == first.project
    with contextlib.closing(open_store(str(database))) as store:
        assert store.bans.of("mallory", clock.now())
    aside = {path.name.split(".bad-")[0] for path in put_aside_in(plain_user)}
    assert aside == ({"stack.toml", "engine.db"} if wrong == "owner" else {"stack.toml"})
