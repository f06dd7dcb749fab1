"""A doorbell and its doctor, and an engine that is behind TLS."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from authority import DAY, Authority, TlsDoor
from bell import bell, config_of
from pairings import pair_on
from people import People
from test_doorbell_door import Asker, pressed
from wire import Datagrams, Wire

from device.config import MachineConfig
from device.doctor import _engine
from utdstream import ClientConfig, Devices, trust
from utdstream.checks import CheckState
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


def trusting(stack: LocalStack, folder: Path, authority: Authority, port: int) -> MachineConfig:
    engine = {"ca_file": str(authority.ca_file), "base_url": f"https://localhost:{port}"}
    return config_of(stack, folder, "tls-bell", engine=engine, doorbell={"callees": ["tls-nobody"]})


def door_of(stack: LocalStack, authority: Authority) -> TlsDoor:
    return TlsDoor(int(stack.base_url.rsplit(":", 1)[1]), authority.issue())


def test_doorbell_when_its_ca_file_is_the_engines_is_ready(
    stack: LocalStack, authority: Authority, tmp_path: Path
) -> None:
    """One line in the configuration is all it takes; the doctor agrees."""
    with door_of(stack, authority) as door:
        config = trusting(stack, tmp_path, authority, door.port)
        with bell(config):
            assert door.passed
        assert next(iter(_engine(config))).state is CheckState.OK


def test_doorbell_when_the_authority_is_foreign_says_what_to_do(
    stack: LocalStack, authority: Authority, tmp_path: Path
) -> None:
    """No waiting mends it, so its status does not say that it waits; nothing was told to that engine."""
    with door_of(stack, Authority(tmp_path, "foreign")) as door:
        config = trusting(stack, tmp_path, authority, door.port)
        with bell(config, ready=False) as doorbell:
            doorbell.wait(trust.UNKNOWN_AUTHORITY, within_s=15)
            assert "waiting" not in doorbell.status
        assert door.passed == 0
        assert "ca_file" in next(iter(_engine(config))).remedy


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("self-signed", trust.UNKNOWN_AUTHORITY),
        ("expired", trust.EXPIRED),
        ("other name", trust.OTHER_NAME),
        ("in clear", trust.NO_TLS),
    ],
)
def test_doorbell_when_the_certificate_is_refused_says_which_fault_it_has(
    stack: LocalStack, authority: Authority, tmp_path: Path, kind: str, words: str
) -> None:
    """Its status and its doctor, in the same words; nothing was told to what showed it."""
    foreign = Authority(tmp_path, "foreign")
    shown = {
        "self-signed": (foreign.ca_file, foreign.folder / "ca.key"),
        "expired": authority.issue(valid=(-9 * DAY, -DAY)),
        "other name": authority.issue(["elsewhere.example.com"]),
    }.get(kind)
    engine = int(stack.base_url.rsplit(":", 1)[1])
    with TlsDoor(engine, shown or authority.issue()) as door:
        config = trusting(stack, tmp_path, authority, engine if shown is None else door.port)
        with bell(config, ready=False) as doorbell:
            doorbell.wait(words, within_s=15)
            assert "waiting" not in doorbell.status
        assert door.passed == 0
        check = next(iter(_engine(config)))
        assert words in f"{check.found}: {check.remedy}", "what was found, and what to do"


@pytest.mark.parametrize("is_encrypted", [True, False], ids=["encrypted", "in clear"])
def test_door_when_paired_and_opened_shows_a_listener_on_the_wire_nothing_but_in_clear(
    proxy: None, authority: Authority, tmp_path: Path, *, is_encrypted: bool
) -> None:
    """Pairing, sign-in, ring, call and opening: no code, key, bearer, password, media token or name under TLS.

    In clear, where the same listener reads them all, it finds the code nowhere: that is never sent. What is said
    in the call is media's, encrypted either way. Only root may read datagrams from the network card: as somebody
    else the test listens to TCP alone.
    """
    with Wire(tmp_path / "data", authority if is_encrypted else None) as wire, ExitStack() as ears:
        media = ears.enter_context(Datagrams(wire.media_port)) if os.geteuid() == 0 else None
        paired, hidden, never = pair_on(wire, "secret-door", tmp_path)
        people = People(wire.stack)
        try:
            house = people("secret-house", Devices(), ClientConfig(ca_file=wire.ca_file))
            engine = {"app_key_file": str(paired.app_key_file)}
            if wire.ca_file is not None:
                engine["ca_file"] = str(wire.ca_file)  # what was written holds the same; a process has one
            doorbell = {"callees": [house.identity], "media": "audio"}
            config = config_of(
                wire.stack, tmp_path / "data", paired.identity, engine=engine, doorbell=doorbell
            )
            key = config.app_key
            with bell(config) as door, pressed(door, house) as call:
                assert Asker(call).code() == "opened"
                assert door.relay.pulses == 1
            mint = house.client._mint
            assert mint is not None
            assert mint.mqtt is not None
            secrets = [key, wire.app_key, mint.user_token, mint.mqtt.password, "secret-", "eyJ", *hidden]
        finally:
            people.close()
    assert all(len(tap.seen) > 1000 for tap in wire.taps)
    assert media is None or len(media.seen) > 1000
    heard = wire.seen + (b"" if media is None else bytes(media.seen))
    read = [secret for secret in secrets if secret.encode() in heard]
    assert read == ([] if is_encrypted else secrets)
    assert not [secret for secret in (*never, "open_door") if secret.encode() in heard]
