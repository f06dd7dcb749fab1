"""Adapter names and where their classes are; each is imported when it is asked for, never before.

Owns: the one table from a name in the configuration to `module:Class`, and the opening of `Devices`.
Apps reach adapters through here and import none of them. Any thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from device.config import MachineConfig

ADAPTERS: Mapping[str, Mapping[str, str]] = {
    "audio": {
        "alsa": "device.audio.alsa:open_audio",
        "platform": "device.audio.platform:open_audio",
        "synthetic": "device.audio.synthetic:open_audio",
    },
    "camera": {
        "picamera2": "device.camera.picamera2:open_camera",
        "pyav": "device.camera.pyav:open_camera",
        "synthetic": "device.camera.synthetic:open_camera",
    },
    "button": {
        "gpio": "device.trigger.gpio:GpioButton",
        "keyboard": "device.trigger.keyboard:KeyboardButton",
        "command": "device.trigger.command:CommandButton",
    },
    "door": {"gpio": "device.trigger.relay:GpioRelay"},
}


def adapter(kind: str, name: str) -> Any:
    """Returns what makes the adapter `name` of `kind`; called with the `MachineConfig`. Raises: DeviceError."""
    module, _, attribute = ADAPTERS[kind][name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_buttons(config: MachineConfig) -> list[Any]:
    """Makes the configured button and, always, the command `utd-device press`; starts neither."""
    chosen = config.button.adapter
    names = ["command"] if chosen in ("none", "command") else [chosen, "command"]
    return [adapter("button", name)(config) for name in names]


def open_camera(config: MachineConfig) -> Any:
    """Opens the configured camera (a `SnapshotCamera`), or returns None. Raises: DeviceError."""
    name = config.camera.adapter
    return None if name == "none" else adapter("camera", name)(config)


def open_audio(config: MachineConfig) -> tuple[Any, Any]:
    """Opens the configured `(microphone, speaker)`, each None when there is none. Raises: DeviceError."""
    name = config.audio.adapter
    return (None, None) if name == "none" else adapter("audio", name)(config)
