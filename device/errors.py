"""What can be wrong with a machine: one tree under the SDK's `DeviceError`, one sentence each.

Owns: the classes. Imports the SDK's public errors only.
A message says what was attempted, what was found, what to do.
"""

from __future__ import annotations

from utdstream import DeviceError, InvalidConfig


class PackageMissing(DeviceError):
    """A driver's Python package is not installed; the message names the command that installs it.

    You see this when a configuration names an adapter (`alsa`, `picamera2`, `gpio`) whose Python package
    is not in this environment.
    At fault: the installation.
    What to do: run the command in the message.
    """


class DeviceNotFound(DeviceError):
    """No such sound card, camera or pin is plugged in; the message lists what there is.

    You see this when the configuration names a card or camera that is not plugged in, or is called
    otherwise.
    At fault: the configuration, or a cable.
    What to do: take a name from the list in the message; a card that comes back is used again by itself.
    """


class DeviceBusy(DeviceError):
    """The device is there, and another program holds it.

    You see this when a second doorbell, a desktop or a test program has the camera open.
    At fault: another program.
    What to do: close that program; the adapter keeps trying.
    """


class AudioFailed(DeviceError):
    """A sound card refused, stopped or vanished.

    You see this when a card offers no usable rate, a sound server stops, or a sound file is not a 16-bit
    WAV.
    At fault: the machine, or the file.
    What to do: the message names the card or the file; the adapter opens a card anew by itself.
    """


class CameraFailed(DeviceError):
    """A camera refused, stopped or vanished.

    You see this when a cable is loose, a network camera does not answer (RTSP, HTTP) or stops, a file holds no
    video, or the encoder refuses the picture's size.
    At fault: the machine, or the network.
    What to do: check the cable or the address; the adapter keeps trying.
    """


class TriggerFailed(DeviceError):
    """A button or relay could not be opened.

    You see this when a pin is taken or not there, the user is not in the group `gpio`, or `utd-device
    press` finds no device that runs.
    At fault: the machine, or the configuration.
    What to do: the message names pin or program; `utd-device doctor` says which group is missing.
    """


class AlreadyRunning(TriggerFailed):
    """Another program with this app id and identity runs on this machine; this one ends.

    You see this when a doorbell is started by hand beside its service, or two configurations hold the same
    identity: both would ring, and each would take the other's connection to the broker.
    At fault: the configuration, or a second start.
    What to do: stop the other one, or give this one an identity (and an app key) of its own.
    """


class ConfigError(InvalidConfig):
    """A configuration file cannot be used; the message names file, section, key and what was expected.

    You see this when a key is misspelled, a value has the wrong type or is out of range, or the file
    cannot be read.
    At fault: the configuration.
    What to do: the message names file, section and key, and often the word that was meant.
    """
