"""What can be wrong with a machine: one tree under the SDK's `DeviceError`, one sentence each.

Owns: the classes. Imports the SDK's public errors only.
A message says what was attempted, what was found, what to do.
"""

from __future__ import annotations

from utdstream import DeviceError, InvalidConfig


class PackageMissing(DeviceError):
    """A driver's Python package is not installed; the message names the command that installs it."""


class DeviceNotFound(DeviceError):
    """No such sound card, camera or pin is plugged in; the message lists what there is."""


class DeviceBusy(DeviceError):
    """The device is there, and another program holds it."""


class AudioFailed(DeviceError):
    """A sound card refused, stopped or vanished."""


class CameraFailed(DeviceError):
    """A camera refused, stopped or vanished."""


class TriggerFailed(DeviceError):
    """A button or relay could not be opened."""


class ConfigError(InvalidConfig):
    """A configuration file cannot be used; the message names file, section, key and what was expected."""
