"""Settings."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from utdstream.config import ClientConfig
from utdstream.errors import InvalidConfig

NAMES = [
    item.name
    for item in fields(ClientConfig)
    if isinstance(item.default, float) and item.name != "switch_interval_s"  # test_switch_interval
]


def test_defaults_when_nothing_is_given_are_those_of_the_reference() -> None:
    """The numbers that the documents promise."""
    config = ClientConfig()
    assert (config.rest_timeout_s, config.join_timeout_s, config.set_timeout_s) == (8, 20, 12)
    assert (config.send_data_timeout_s, config.leave_timeout_s, config.dispose_timeout_s) == (5, 5, 8)
    assert config.wait_timeout_s == 30


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, math.nan, True, "1", None])
def test_setting_when_not_a_positive_number_is_refused_by_name(name: str, value: object) -> None:
    """The sentence names the setting."""
    with pytest.raises(InvalidConfig, match=name):
        ClientConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, True, "", b"ca.pem"])
def test_ca_file_when_it_is_no_path_is_refused_by_name(value: object) -> None:
    """What it holds is looked at by the client."""
    with pytest.raises(InvalidConfig, match="ca_file"):
        ClientConfig(ca_file=value)  # type: ignore[arg-type]
