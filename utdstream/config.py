"""Settings of a client: time limits and the like, with the defaults the reference promises.

Owns: `ClientConfig`, the default hosts, what the environment says. Imports the standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from utdstream.errors import InvalidConfig

DEFAULT_BASE_URL = "https://engine.udt-stream.com"
DEFAULT_TOKEN_BASE_URL = "https://udt-stream.com"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Defaults for `timeout=None`, in seconds, and the pace of what the SDK does by itself.

    Every number must be positive. A value given to a call wins over the one here.
    """

    rest_timeout_s: float = 8.0
    join_timeout_s: float = 20.0
    set_timeout_s: float = 12.0
    send_data_timeout_s: float = 5.0
    leave_timeout_s: float = 5.0
    dispose_timeout_s: float = 8.0
    wait_timeout_s: float = 30.0
    call_poll_s: float = 2.0
    """How often the engine is asked about a call whose state no message has told for this long."""
    ring_poll_s: float = 4.0
    """How often the engine is asked for ringing calls while no messages can come, anything rings, or it did not
    answer."""
    ring_check_s: float = 20.0
    """How often it is asked else, in case the broker has lost a message: a call rings for 30 s."""
    room_poll_s: float = 5.0
    """How often the engine is asked for seats or stage while it never pushes any (the vendor's might not)."""
    video_linger_s: float = 2.0
    """How long a video track stays subscribed after its last consumer left."""
    direct_audio: bool = True
    """Sound passes between the devices' threads and the media core past the SDK's loop: about half of the CPU, and
    whole beside a busy program. False: by LiveKit's public functions alone, as with any livekit but the one that
    this was made for."""
    preload: bool = False
    """The media core is loaded in the background once a client is signed in, and not with the first call, which
    need not wait for that (0.3 to 0.6 s on a PC). A program that waits is 29 MiB larger for it and wakes up twice
    a second more."""
    switch_interval_s: float | None = 0.0005
    """While a room is joined a thread that computes hands the interpreter on after this time at the latest
    (`sys.setswitchinterval`), for the whole process; given back after the last room. None: it is left as it is."""
    ca_file: str | Path | None = None
    """PEM file of the authorities that the certificates of engine and broker are checked against, instead of the
    system's; the media core trusts it beside the system's. None: the system's alone."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "ca_file":
                continue
            if item.type == "bool":
                if not isinstance(value, bool):
                    raise InvalidConfig(f"ClientConfig.{item.name} must be True or False, not {value!r}")
                continue
            if item.name == "switch_interval_s" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise InvalidConfig(f"ClientConfig.{item.name} must be a positive number, not {value!r}")
        if self.ca_file is not None and not (isinstance(self.ca_file, (str, Path)) and str(self.ca_file)):
            raise InvalidConfig(f"ClientConfig.ca_file must be the path of a PEM file, not {self.ca_file!r}")


def read_environment() -> tuple[str, str, str, ClientConfig]:
    """Returns app id, app key, base URL and configuration of the variables UTD_... that the commands read too.

    Raises: InvalidConfig when the app id or the app key is missing, or UTD_CA_FILE is no path.
    """
    app_id, app_key = (os.environ.get(name, "") for name in ("UTD_APP_ID", "UTD_APP_KEY"))
    if not app_id or not app_key:
        missing = "UTD_APP_KEY" if app_id else "UTD_APP_ID"
        raise InvalidConfig(
            f"there is no {missing} in the environment; `engine up` prints the app id, and the file with the keys"
        )
    config = ClientConfig(ca_file=os.environ.get("UTD_CA_FILE") or None)
    return app_id, app_key, os.environ.get("UTD_BASE_URL") or DEFAULT_BASE_URL, config
