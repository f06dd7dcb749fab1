"""Adapters: the registry alone knows them, the configuration names each, and a contract holds each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from imports import imports, modules

from device.config import SECTIONS
from device.registry import ADAPTERS, adapter

TESTS = Path(__file__).resolve().parents[1]
ALL = [(kind, name) for kind, places in ADAPTERS.items() for name in places]
MODULES = {
    kind: {name: place.partition(":")[0] for name, place in ADAPTERS[kind].items()} for kind in ADAPTERS
}
EVERY_MODULE = {module for places in MODULES.values() for module in places.values()}
MAY_IMPORT = {"device.doctor", "device.__main__"}
"""The doctor asks a driver what there is; the command presses the button of another process."""
CONTRACTS = {
    "audio": ("MicrophoneContract", "SpeakerContract"),
    "camera": ("SnapshotCameraContract",),
    "button": ("ButtonContract",),
}
"""The door has one adapter and no contract yet."""
WITHOUT_FRAMES = {"device.audio.platform"}
"""The core's own sound path: no frame passes through Python, so there is nothing that a contract could count."""
DRIVERS = ("av", "gpiozero", "libcamera", "picamera2", "pyaudio")


def test_adapters_when_the_files_are_read_are_imported_by_no_app_and_no_other_adapter() -> None:
    """A configuration asks for an adapter, the registry imports it; nothing else depends on a driver."""
    graph = imports(modules())
    assert set(graph) >= EVERY_MODULE, "each place in device/registry.py is a file"
    importers = {
        name: targets & EVERY_MODULE - {name} for name, targets in graph.items() if name not in MAY_IMPORT
    }
    assert {name: found for name, found in importers.items() if found} == {}, (
        "what two adapters share belongs below both: device/camera/capture.py, encoder.py, audio/cards.py ..."
    )


@pytest.mark.parametrize("section", sorted(ADAPTERS))
def test_adapters_when_configured_are_those_of_the_registry(section: str) -> None:
    """A name in one of the two alone could not be used, or would fail at the start."""
    configurable = set(get_args(get_type_hints(SECTIONS[section])["adapter"])) - {"none"}
    assert configurable == set(ADAPTERS[section]), (
        f"[{section}] adapter in device/config.py and ADAPTERS in device/registry.py must have the same names"
    )


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_adapter_when_it_is_asked_for_is_callable(kind: str, name: str) -> None:
    """The place in the registry is a function or a class."""
    assert callable(adapter(kind, name)), f"{ADAPTERS[kind][name]} is called with the MachineConfig"


def test_adapters_when_they_are_imported_import_no_driver() -> None:
    """A missing driver is a sentence when the device is opened, not an ImportError before."""
    program = (
        "import sys; from importlib import import_module\n"
        f"for module in {sorted(EVERY_MODULE)}: import_module(module)\n"
        f"print(*(name for name in {DRIVERS} if name in sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "", "import the driver late, inside the function that opens the device"


@pytest.mark.parametrize(
    ("module", "contract"),
    [
        (module, contract)
        for kind, contracts in CONTRACTS.items()
        for module in MODULES[kind].values()
        for contract in contracts
        if module not in WITHOUT_FRAMES
    ],
)
def test_adapter_when_it_is_in_the_registry_is_held_by_its_contract(module: str, contract: str) -> None:
    """Some test class inherits the contract and makes its device with this module."""
    assert (module, contract) in set(held()), (
        f"no test holds {module} to {contract}: write a class that inherits it (tests/contract/media_contract.py, "
        f"tests/device/device_contract.py) and whose fixture makes the device with a name from {module}"
    )


def held() -> Iterator[tuple[str, str]]:
    """Module and contract of each test class that inherits a contract and names something of the module."""
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        homes = {
            name: home
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            for name, home in [(alias.asname or alias.name, str(node.module))]
        }
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & set(homes)
                for base in node.bases:
                    yield from (
                        (homes[name], ast.unparse(base)) for name in used if homes[name] in EVERY_MODULE
                    )
