"""Adapters: the registry alone knows them, and the configuration names each."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from imports import imports, modules

from device.config import SECTIONS
from device.registry import ADAPTERS, adapter

MODULES = {place.partition(":")[0] for places in ADAPTERS.values() for place in places.values()}
MAY_IMPORT = {"device.doctor", "device.__main__"}
"""The doctor asks a driver what there is; the command presses the button of another process."""


def test_adapters_when_the_files_are_read_are_imported_by_no_app_and_no_other_adapter() -> None:
    """A configuration asks for an adapter, the registry imports it; nothing else depends on a driver."""
    graph = imports(modules())
    assert set(graph) >= MODULES, "each place in the registry is a file"
    importers = {
        name: targets & MODULES - {name} for name, targets in graph.items() if name not in MAY_IMPORT
    }
    assert {name: found for name, found in importers.items() if found} == {}


@pytest.mark.parametrize("section", ["audio", "camera", "button", "door"])
def test_adapters_when_configured_are_those_of_the_registry(section: str) -> None:
    """A name in one of the two alone could not be used, or would fail at the start."""
    configurable = set(get_args(get_type_hints(SECTIONS[section])["adapter"])) - {"none"}
    assert configurable == set(ADAPTERS[section])


@pytest.mark.parametrize("name", ["picamera2", "pyav", "synthetic"])
def test_adapter_when_it_is_asked_for_is_imported_without_its_driver(name: str) -> None:
    """A missing driver is a sentence when the device is opened, not an ImportError here."""
    assert callable(adapter("camera", name))
