"""A doorbell and its doctor, and an engine that is behind TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from authority import Authority, TlsDoor
from bell import bell, config_of

from device.config import MachineConfig
from device.doctor import _engine
from utdstream import trust
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
