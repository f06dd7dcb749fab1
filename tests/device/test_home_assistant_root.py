"""Our discovery message before Home Assistant's own schemas, when their root is built."""

from __future__ import annotations

import json
from pathlib import Path

import debian_roots
import home_assistant_root
import pytest

from device.config import parse
from device.home_assistant import HomeAssistant

SCRIPT = Path(__file__).parent / "programs" / "check_discovery.py"


@pytest.mark.slow
def test_discovery_when_read_by_home_assistant_is_taken_whole() -> None:
    """Every component, every key of it; a wrong one is refused, so the check checks."""
    root = debian_roots.needed(home_assistant_root, "test-home-assistant")
    tables = {
        "engine": {"app_id": "x"},
        "device": {"identity": "front-door"},
        "door": {"adapter": "gpio"},
        "home_assistant": {"enabled": True},
    }
    message = HomeAssistant(
        parse(tables, Path("/etc/utdstream/doorbell.toml")), lambda _word: None
    )._discovery
    said = home_assistant_root.check(root, SCRIPT, json.dumps(message))
    print(said.stdout)
    assert said.returncode == 0, said.stderr
    components = message["components"]
    assert isinstance(components, dict)
    del components["doorbell"]["state_topic"]
    assert home_assistant_root.check(root, SCRIPT, json.dumps(message)).returncode != 0
