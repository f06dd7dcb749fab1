"""The machine's configuration: one TOML file, one frozen dataclass a section.

Owns: every section, key, default and limit. Any thread. Imports `utdstream.settings`, which reads the file, and
vocabulary.

1. A secret is never in the file: a key ending in `_file` names a file, or the service manager's credential
   of the same name (without `_file`) is read from `$CREDENTIALS_DIRECTORY`. The one exception is a password in
   a camera's address, which its protocol puts there: `without_secrets` takes it out of what is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from device.errors import ConfigError
from utdstream import settings
from utdstream.config import DEFAULT_BASE_URL
from utdstream.errors import InvalidConfig
from utdstream.limits import MAX_SEATS
from utdstream.secret_file import read_secret
from utdstream.settings import Meta
from utdstream.settings import without_secrets as without_secrets

Address = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        title="an address like http://192.168.1.10:8080 or https://192.168.1.10:8443",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]

MIN_PIN, MAX_PIN = 4, 64

DEFAULT_PATHS = {
    "doorbell": Path("/etc/utdstream/doorbell.toml"),
    "kiosk": Path("/etc/utdstream/kiosk.toml"),
}


@dataclass(frozen=True, slots=True)
class EngineAccessSection:
    """Where the engine is, and the project that this device belongs to."""

    app_id: Annotated[str, "the project's app id"]
    base_url: Annotated[Address, "address of the engine, `https://...` or `http://...`"] = DEFAULT_BASE_URL
    app_key_file: Annotated[
        Path | None, "file that holds the app key; without it the credential `app_key` is read"
    ] = None
    ca_file: Annotated[
        Path | None,
        "PEM file of the authority that the certificates of engine, broker and media server are checked against; "
        "not set: the system's authorities",
    ] = None


@dataclass(frozen=True, slots=True)
class DeviceSection:
    """The identity of this device."""

    identity: Annotated[str, "the identity under which it calls and is called"]
    name: Annotated[str | None, "the name that people see"] = None
    preload: Annotated[
        bool,
        "load the media core at the start: the first call need not wait for that; what waits is 29 MiB larger, "
        "and wakes up twice a second more",
    ] = False
    memory_limit_mib: Annotated[
        int,
        Meta(ge=0, le=65_536),
        "memory of its own (MiB) above which the program, when at rest, closes everything and starts anew, for "
        "what the media core has lost for good; a doorbell holds 60 to 150; 0: never",
    ] = 300


@dataclass(frozen=True, slots=True)
class AudioSection:
    """Microphone and speaker."""

    adapter: Annotated[
        Literal["alsa", "platform", "synthetic", "none"],
        "`alsa`: the sound card through PyAudio; `platform`: LiveKit's own sound path (no PCM in Python); "
        "`synthetic`: a tone, no hardware; `none`",
    ] = "alsa"
    microphone: Annotated[str, "stable name of the capture device (see `utd-device doctor`), or `none`"] = (
        "default"
    )
    speaker: Annotated[str, "stable name of the playback device, or `none`"] = "default"
    sample_rate_hz: Annotated[
        Annotated[int, Meta(ge=8000, le=48000)] | None, "16000, 44100 or 48000; not set: what the card offers"
    ] = None
    output_latency_ms: Annotated[
        int, Meta(ge=20, le=500), "longest sound kept for the card before the oldest is dropped"
    ] = 60
    echo_cancellation: Annotated[bool, "take the speaker's sound out of the microphone's"] = True
    noise_suppression: Annotated[bool, "take steady noise out"] = True
    gain_control: Annotated[bool, "keep speech at one loudness"] = True
    high_pass: Annotated[bool, "take rumble out"] = True
    volume: Annotated[float, Meta(ge=0.0, le=1.0), "loudness of the speaker"] = 1.0


@dataclass(frozen=True, slots=True)
class CameraSection:
    """The camera."""

    adapter: Annotated[
        Literal["picamera2", "pyav", "synthetic", "none"],
        "`picamera2`: a Pi camera; `pyav`: V4L2, RTSP, MJPEG over HTTP or a file; "
        "`synthetic`: a test picture; `none`",
    ] = "picamera2"
    source: Annotated[
        str,
        "picamera2: number of the camera; pyav: `/dev/video0`, `rtsp://...`, `http://...` (MJPEG), a file, "
        "or `test`",
    ] = "0"
    width: Annotated[int, Meta(ge=64, le=1920, multiple_of=2), "pixels"] = 1280
    height: Annotated[int, Meta(ge=64, le=1080, multiple_of=2), "pixels"] = 720
    frames_per_second: Annotated[int, Meta(ge=1, le=60), "pictures a second"] = 25
    rotation: Annotated[Literal[0, 180], "degrees by which the camera is mounted turned"] = 0
    bitrate_bps: Annotated[
        int, Meta(ge=100_000, le=8_000_000), "bits a second at the start; the network lowers it"
    ] = 1_500_000
    encoder: Annotated[
        Literal["auto", "hardware", "software", "none"],
        "what makes H.264: `hardware`: the board; `software`: our own encoder; `auto`: the board where it can, "
        "else our own; `none`: nothing, pictures are handed over raw",
    ] = "auto"


@dataclass(frozen=True, slots=True)
class ButtonSection:
    """What presses the bell."""

    adapter: Annotated[
        Literal["gpio", "keyboard", "command", "none"],
        "`gpio`: a pin; `keyboard`: the Enter key; `command`: only `utd-device press` and SIGUSR1; `none`",
    ] = "gpio"
    pin: Annotated[int, Meta(ge=0, le=53), "GPIO number (BCM) of the button"] = 17
    pull_up: Annotated[bool, "the button connects the pin to ground"] = True
    bounce_ms: Annotated[int, Meta(ge=0, le=1000), "edges closer than this are one press"] = 40


@dataclass(frozen=True, slots=True)
class DoorSection:
    """The door opener, a pulse on a relay."""

    adapter: Annotated[Literal["gpio", "none"], "`gpio`: a pin drives a relay; `none`: no opener"] = "none"
    pin: Annotated[int, Meta(ge=0, le=53), "GPIO number (BCM) of the relay"] = 27
    active_high: Annotated[bool, "the relay pulls in when the pin is high"] = True
    pulse_ms: Annotated[int, Meta(ge=50, le=30_000), "how long the relay pulls in"] = 3000
    openers: Annotated[
        tuple[str, ...],
        'callers that may open the door in a call to it that a person answered, or `auto_answer = "callees"`; '
        "each must be one of `callees` too, or its call is refused. The callee who answers a call of the door may "
        "open in any case",
    ] = ()
    pin_file: Annotated[
        Path | None,
        "file that holds a PIN which each request to open must carry; without it the credential `door_pin` is "
        "read; neither: no PIN",
    ] = None


@dataclass(frozen=True, slots=True)
class DoorbellSection:
    """What a press does, and what a call to the door does."""

    callees: Annotated[tuple[str, ...], "identities to call, in this order"] = ()
    mode: Annotated[
        Literal["in_turn", "at_once"],
        "`at_once`: all ring, the first to answer wins; `in_turn`: one after the other",
    ] = "at_once"
    media: Annotated[Literal["video", "audio"], "a video call, or sound only"] = "video"
    ring_timeout_s: Annotated[
        float,
        Meta(ge=2, le=120),
        "how long it rings (in turn: at each callee) until the call counts as not answered",
    ] = 30.0
    call_limit_s: Annotated[float, Meta(ge=10, le=3600), "longest call, then the door hangs up"] = 300.0
    chime_file: Annotated[Path | None, "WAV played at the door on a press; not set: the built-in chime"] = (
        None
    )
    chime: Annotated[bool, "play a chime at the door on a press"] = True
    snapshot_folder: Annotated[Path | None, "where a picture of each press is kept; not set: nowhere"] = None
    snapshot_keep: Annotated[int, Meta(ge=1, le=10_000), "how many pictures are kept"] = 50
    no_answer_file: Annotated[Path | None, "WAV played at the door when no callee answered"] = None
    auto_answer: Annotated[
        Literal["never", "callees", "always"],
        "callers that the door answers by itself: none, the callees, all",
    ] = "callees"
    do_not_disturb: Annotated[bool, "start with the bell silenced"] = False


@dataclass(frozen=True, slots=True)
class KioskSection:
    """The audio room a kiosk stays in."""

    room: Annotated[str, "name of the audio room"] = "lobby"
    seat: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_SEATS - 1)] | None, "seat to hold (from 0); not set: listen only"
    ] = None
    host: Annotated[bool, "join as the room's host"] = False
    seat_count: Annotated[int, Meta(ge=1, le=MAX_SEATS), "seats of the room, when this kiosk is its host"] = 8
    push_to_talk: Annotated[bool, "the microphone is open only while the button is held"] = False


@dataclass(frozen=True, slots=True)
class HomeAssistantSection:
    """Home Assistant over MQTT discovery."""

    enabled: Annotated[bool, "announce this device to Home Assistant"] = False
    host: Annotated[str, "its MQTT broker"] = "localhost"
    port: Annotated[Port, "its port"] = 1883
    username: Annotated[str | None, "login at the broker"] = None
    password_file: Annotated[
        Path | None,
        "file that holds its password; without it the credential `home_assistant_password` is read",
    ] = None
    tls: Annotated[bool, "encrypt the connection"] = False
    ca_file: Annotated[Path | None, "certificate authority of the broker, as PEM"] = None
    discovery_prefix: Annotated[str, "discovery prefix set in Home Assistant"] = "homeassistant"
    node: Annotated[
        str | None,
        "this device's id in topics, 1 to 64 of A-Z a-z 0-9 _ -; not set: its identity; one with other signs "
        "gets a part of its own, so that no two are alike",
    ] = None


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Everything one file says. A section that is not there has its defaults."""

    path: Path
    engine: EngineAccessSection
    device: DeviceSection
    audio: AudioSection
    camera: CameraSection
    button: ButtonSection
    door: DoorSection
    doorbell: DoorbellSection
    kiosk: KioskSection
    home_assistant: HomeAssistantSection

    @property
    def app_key(self) -> str:
        """The app key, read now. Raises: ConfigError."""
        key = self.secret("engine", "app_key", self.engine.app_key_file)
        if key is None:
            raise ConfigError(
                f"{self.path}: [engine] app_key_file: there is no app key; name a file that holds it, or "
                "give the service the credential app_key (LoadCredential=app_key:/etc/utdstream/app_key)"
            )
        return key

    @property
    def door_pin(self) -> str | None:
        """The PIN that opens the door, read now; None when none is demanded. Raises: ConfigError."""
        pin = self.secret("door", "door_pin", self.door.pin_file)
        if pin is not None and not (MIN_PIN <= len(pin) <= MAX_PIN and pin.isprintable()):
            raise ConfigError(
                f"{self.path}: [door] pin_file: the PIN must have {MIN_PIN} to {MAX_PIN} printable characters"
            )
        return pin

    def secret(self, section: str, name: str, file: Path | None) -> str | None:
        """A secret from its file, else from the service manager's credential; None when there is neither."""
        key = f"{name.removeprefix(f'{section}_')}_file"
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        given = None if folder is None or not (Path(folder) / name).exists() else Path(folder) / name
        source, what = file or given, f"the {name.replace('_', ' ')}"
        if source is None:
            return None
        try:
            try:
                return read_secret(source, what)
            except InvalidConfig as error:
                if given is None or not isinstance(error.__cause__, PermissionError):
                    raise
                return read_secret(given, what)  # systemd gives a service a copy of what is root's
        except InvalidConfig as error:
            raise ConfigError(f"{self.path}: [{section}] {key}: {error.message}") from error.__cause__


SECTIONS = settings.sections(MachineConfig)


def load(path: str | Path) -> MachineConfig:
    """The configuration in a file. Raises: ConfigError, whose sentence says what to change."""
    source = Path(path)
    held = _credential(source)
    try:
        return settings.parse(settings.tables(held), MachineConfig, source)
    except InvalidConfig as error:
        if held != source:
            raise ConfigError(error.message.replace(str(held), str(source))) from error
        if isinstance(error.__cause__, PermissionError):
            raise ConfigError(
                f"{error.message}; use sudo: it is root's alone, for it may hold a password"
            ) from error
        remedy = "" if source.exists() else "; `utd-device install-service` writes one, or give --config"
        raise ConfigError(error.message + remedy) from error


def _credential(source: Path) -> Path:
    """Returns where the text of this file is: a service may not read the file, which may hold a camera's password.

    systemd gives it a copy (LoadCredential=); the file keeps its name, and relative paths begin at it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    held = Path(folder) / source.name if folder else source
    try:
        return held if held.is_file() else source
    except PermissionError:  # what runs behind a service (ExecStopPost=) may not look there any more
        return source


def parse(tables: Mapping[str, object], source: Path) -> MachineConfig:
    """The configuration in parsed TOML; `source` is named in errors. Raises: ConfigError."""
    try:
        return settings.parse(tables, MachineConfig, source)
    except InvalidConfig as error:
        raise ConfigError(error.message) from error
