"""The commented example of a configuration, written from `config.py`: it cannot be out of date.

Owns: which sections and values an example shows. Imports the configuration and the settings' words.
"""

from __future__ import annotations

import textwrap

from device.config import SECTIONS
from utdstream.settings import keys, toml

_SHOWN: dict[str, dict[str, dict[str, object]]] = {
    "doorbell": {
        "engine": {"app_id": "1234567890", "base_url": "http://192.168.1.10:8080"},
        "device": {"identity": "door", "name": "Front door"},
        "audio": {},
        "camera": {},
        "button": {},
        "door": {},
        "doorbell": {"callees": ["house"]},
        "home_assistant": {},
    },
    "kiosk": {
        "engine": {"app_id": "1234567890", "base_url": "http://192.168.1.10:8080"},
        "device": {"identity": "kiosk", "name": "Kiosk in the lobby"},
        "audio": {},
        "button": {"adapter": "none"},
        "kiosk": {"seat": 1},
    },
}


def example(app: str) -> str:
    """The commented TOML of `doorbell` or `kiosk`: what must be set is set, the rest shows its default."""
    lines = [
        f"# Configuration of `utd-device {app}`. Lines that begin with # show the default.",
        "# The app key is not in here: it is the credential app_key, or the file that app_key_file names.",
    ]
    for section, given in _SHOWN[app].items():
        kind = SECTIONS[section]
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for key in keys(kind).values():
            lines += textwrap.wrap(
                f"{key.meaning} ({key.limits})" if key.limits else key.meaning,
                110,
                initial_indent="# ",
                subsequent_indent="# ",
                break_long_words=False,
            )
            value = given.get(key.name, key.default)
            shown = "" if value is None else toml(value)
            lines.append(f"{'' if key.name in given else '#'}{key.name} = {shown}".rstrip())
    return "\n".join(lines) + "\n"
