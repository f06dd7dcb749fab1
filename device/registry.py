"""Adapter names and where their classes are; each is imported when it is asked for, never before.

Owns: the one table from a name in the configuration to `module:attribute`, and the opening of `Devices`. The
attribute is a function or a class that is called with the `MachineConfig`. Apps reach adapters through here and
import none of them. Any thread.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, cast

from device.config import CameraSection, MachineConfig
from utdstream.checks import Check, CheckState

if TYPE_CHECKING:
    from device.camera.port import SnapshotCamera
    from device.trigger.port import Button, Relay
    from utdstream import Microphone, Speaker

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


def adapter(kind: str, name: str) -> Callable[[MachineConfig], object]:
    """Returns what makes the adapter `name` of `kind`; called with the `MachineConfig`. Raises: DeviceError."""
    module, _, attribute = ADAPTERS[kind][name].partition(":")
    made: Callable[[MachineConfig], object] = getattr(importlib.import_module(module), attribute)
    return made


def make_buttons(config: MachineConfig) -> list[Button]:
    """Makes the configured button and, always, the command `utd-device press`; starts neither."""
    chosen = config.button.adapter
    names = ["command"] if chosen in ("none", "command") else ["command", chosen]
    return [cast("Button", adapter("button", name)(config)) for name in names]


def open_camera(config: MachineConfig) -> SnapshotCamera | None:
    """Opens the configured camera, or returns None. Raises: DeviceError."""
    name = config.camera.adapter
    return None if name == "none" else cast("SnapshotCamera", adapter("camera", name)(config))


def examine_camera(config: MachineConfig) -> list[Check]:
    """Looks whether the configured camera is there, as its module's `examine` does; for `utd-device doctor`."""
    name = config.camera.adapter
    if name != "none":
        module = importlib.import_module(ADAPTERS["camera"][name].partition(":")[0])
        examine: Callable[[CameraSection], Iterable[Check]] | None = getattr(module, "examine", None)
        if examine is not None:
            return list(examine(config.camera))
    return [Check("camera", CheckState.OK, f"adapter {name}")]


def open_audio(config: MachineConfig) -> tuple[Microphone | None, Speaker | None]:
    """Opens the configured `(microphone, speaker)`, each None when there is none. Raises: DeviceError."""
    name = config.audio.adapter
    if name == "none":
        return None, None
    return cast("tuple[Microphone | None, Speaker | None]", adapter("audio", name)(config))


def open_relay(config: MachineConfig) -> Relay | None:
    """Opens the configured door opener, or returns None. Raises: DeviceError."""
    name = config.door.adapter
    return None if name == "none" else cast("Relay", adapter("door", name)(config))
