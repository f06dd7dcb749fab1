"""PortAudio as PyAudio gives it: the sound devices by names that last, and ALSA's one real complaint.

Owns: `SoundDevice`, the late import of PyAudio, the silence around its start. Any thread.

1. PortAudio reads its list of devices once, when it starts.
2. A device is known by its name without the numbers ALSA gives anew at each plug-in.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from device.errors import AudioFailed, DeviceNotFound, PackageMissing
from utdstream.checks import requirement

RATES_HZ = (48_000, 44_100, 16_000)
_NUMBERS = re.compile(r"\s*\(hw:\d+,\d+\)$")
_stderr_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """One entry of PortAudio's list; `index` is true only until the list is read again."""

    name: str
    index: int
    inputs: int
    outputs: int
    default_input: bool
    default_output: bool
    default_rate_hz: int


def import_pyaudio() -> Any:
    """Returns the driver's module. Raises: PackageMissing."""
    try:
        import pyaudio
    except ImportError as error:
        raise PackageMissing(
            "sound needs PyAudio, which is not installed here: `sudo apt install python3-pyaudio`, or "
            f"`sudo apt install portaudio19-dev python3-dev gcc` and `pip install '{requirement('pyaudio')}'`"
        ) from error
    return pyaudio


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps what ALSA and JACK print on file descriptor 2 to themselves; the list holds it afterwards."""
    said: list[str] = []
    with _stderr_lock, tempfile.TemporaryFile() as heard:
        kept = os.dup(2)
        try:
            os.dup2(heard.fileno(), 2)
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            said += heard.read().decode(errors="replace").splitlines()


def real_error(said: list[str]) -> str:
    """Returns ALSA's last complaint without its file and line; empty when there was none."""
    for line in reversed(said):
        found = re.match(r"ALSA lib \S+:\(\S+\) (.+)", line)
        if found:
            return found[1].strip()
    return ""


def list_devices() -> list[SoundDevice]:
    """Lists the sound devices there are now, by stable name. Blocks: some 100 ms. Raises: PackageMissing."""
    with open_portaudio() as audio:
        return devices_of(audio)


def devices_of(audio: Any) -> list[SoundDevice]:
    """Returns the list that this PortAudio read when it started."""
    defaults = []
    for ask in (audio.get_default_input_device_info, audio.get_default_output_device_info):
        try:
            defaults.append(int(ask()["index"]))
        except OSError:
            defaults.append(-1)
    found = []
    for index in range(audio.get_device_count()):
        entry = audio.get_device_info_by_index(index)
        found.append(
            SoundDevice(
                name=_NUMBERS.sub("", str(entry["name"])),
                index=index,
                inputs=int(entry["maxInputChannels"]),
                outputs=int(entry["maxOutputChannels"]),
                default_input=index == defaults[0],
                default_output=index == defaults[1],
                default_rate_hz=int(entry["defaultSampleRate"]),
            )
        )
    return found


def choose(devices: list[SoundDevice], name: str, *, capture: bool) -> SoundDevice:
    """Finds the device of this name and direction; `default` is the system's. Raises: DeviceNotFound."""
    able = [device for device in devices if (device.inputs if capture else device.outputs) > 0]
    what = "microphone" if capture else "speaker"
    if name == "default":
        chosen = [device for device in able if (device.default_input if capture else device.default_output)]
        named = [device for device in able if device.name == "default"]
        if chosen or named:
            return (chosen or named)[0]
        raise DeviceNotFound(
            f"there is no {what}: this machine has no sound card that can be one; plug one in"
        )
    exact = [device for device in able if device.name == name]
    similar = exact or [device for device in able if name.lower() in device.name.lower()]
    if len(similar) == 1 or exact:
        return similar[0]
    there = ", ".join(f'"{device.name}"' for device in able) or "none"
    reason = "more than one fits" if similar else "there is none"
    raise DeviceNotFound(f'{what} "{name}": {reason}; those there are: {there}')


@contextlib.contextmanager
def open_portaudio() -> Iterator[Any]:
    """Opens PortAudio for one look."""
    pyaudio = import_pyaudio()
    with quiet():
        audio = pyaudio.PyAudio()
    try:
        yield audio
    finally:
        audio.terminate()


def offered_rate(name: str, *, capture: bool, channels: int = 1) -> int:
    """Returns the first of 48, 44.1 and 16 kHz that a card offers. Raises: DeviceNotFound, AudioFailed."""
    pyaudio = import_pyaudio()
    with open_portaudio() as audio:
        device = choose(devices_of(audio), name, capture=capture)
        side = "input" if capture else "output"
        for rate in RATES_HZ:
            asked = {f"{side}_device": device.index, f"{side}_channels": channels}
            with contextlib.suppress(ValueError), quiet():
                if audio.is_format_supported(rate, **asked, **{f"{side}_format": pyaudio.paInt16}):
                    return rate
    raise AudioFailed(f'"{device.name}" offers none of {", ".join(map(str, RATES_HZ))} Hz with int16')
