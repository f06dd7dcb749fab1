"""Devices in use in this process: the same object given to several sessions is opened once.

Owns: the tables from a device object to its `SharedCapture` or `SharedSpeaker`. Thread: the loop.
An entry lives while somebody uses it; it holds its device, so the id it is filed under stays taken.
"""

from __future__ import annotations

import weakref
from typing import Any

from utdstream._livekit.playout import SharedSpeaker
from utdstream._livekit.sources import SharedCapture
from utdstream.media import Camera, Microphone, Speaker

_captures: weakref.WeakValueDictionary[int, SharedCapture[Any]] = weakref.WeakValueDictionary()
_speakers: weakref.WeakValueDictionary[int, SharedSpeaker] = weakref.WeakValueDictionary()


def capture(device: Microphone | Camera) -> SharedCapture[Any]:
    """The one capture of this device."""
    entry = _captures.get(id(device))
    if entry is None:
        entry = _captures[id(device)] = SharedCapture(device)
    return entry


def speaker(device: Speaker) -> SharedSpeaker:
    """The one playback of this device."""
    entry = _speakers.get(id(device))
    if entry is None:
        entry = _speakers[id(device)] = SharedSpeaker(device)
    return entry
