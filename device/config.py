"""The machine's configuration: one TOML file, one frozen dataclass a section.

Owns: every section, key, default and limit; the reading of the file. Standard library and vocabulary only.

1. An unknown section or key is refused, with the nearest known one.
2. Every error names file, section, key, what was found and what was expected.
3. A secret is never in the file: a key ending in `_file` names a file, or the service manager's credential
   of the same name (without `_file`) is read from `$CREDENTIALS_DIRECTORY`. The one exception is a password in
   a camera's address, which its protocol puts there: `without_secrets` takes it out of what is shown.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from device.errors import ConfigError
from utdstream.config import DEFAULT_BASE_URL
from utdstream.limits import MAX_SEATS

_SECRET_OF_ADDRESS = re.compile(r"(?<=://)[^/\s]*:[^/\s]*(?=@)")
_ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")

DEFAULT_PATHS = {
    "doorbell": Path("/etc/utdstream/doorbell.toml"),
    "kiosk": Path("/etc/utdstream/kiosk.toml"),
}


def setting(default: Any = dataclasses.MISSING, help: str = "", **limits: Any) -> Any:
    """One key: its default, its explanation, its limits (`least`, `most`, `even`; `address`: http or https)."""
    extra = {"help": help, **limits}
    if isinstance(default, (list, dict)):
        raise TypeError("defaults are immutable")
    return field(default=default, metadata=extra)


@dataclass(frozen=True, slots=True)
class EngineSection:
    """Where the engine is and who may use it."""

    app_id: str = setting(help="the project's app id")
    base_url: str = setting(
        DEFAULT_BASE_URL, "address of the engine, `https://...` or `http://...`", address=True
    )
    app_key_file: Path | None = setting(
        None, "file that holds the app key; without it the credential `app_key` is read"
    )


@dataclass(frozen=True, slots=True)
class DeviceSection:
    """Who this device is."""

    identity: str = setting(help="the identity under which it calls and is called")
    name: str | None = setting(None, "the name people see")


@dataclass(frozen=True, slots=True)
class AudioSection:
    """Microphone and speaker."""

    adapter: Literal["alsa", "platform", "synthetic", "none"] = setting(
        "alsa",
        "`alsa`: the sound card through PyAudio; `platform`: LiveKit's own sound path (no PCM in Python); "
        "`synthetic`: a tone, no hardware; `none`",
    )
    microphone: str = setting(
        "default", "stable name of the capture device (see `utd-device doctor`), or `none`"
    )
    speaker: str = setting("default", "stable name of the playback device, or `none`")
    sample_rate_hz: int | None = setting(
        None, "16000, 44100 or 48000; not set: what the card offers", least=8000, most=48000
    )
    output_latency_ms: int = setting(
        60, "longest sound kept for the card before the oldest is dropped", least=20, most=500
    )
    echo_cancellation: bool = setting(True, "take the speaker's sound out of the microphone's")
    noise_suppression: bool = setting(True, "take steady noise out")
    gain_control: bool = setting(True, "keep speech at one loudness")
    high_pass: bool = setting(True, "take rumble out")
    volume: float = setting(1.0, "loudness of the speaker, 0 to 1", least=0.0, most=1.0)


@dataclass(frozen=True, slots=True)
class CameraSection:
    """The camera."""

    adapter: Literal["picamera2", "pyav", "synthetic", "none"] = setting(
        "picamera2",
        "`picamera2`: a Pi camera; `pyav`: V4L2, RTSP or a file; `synthetic`: a test picture; `none`",
    )
    source: str = setting(
        "0", "picamera2: number of the camera; pyav: `/dev/video0`, `rtsp://...`, a file, or `test`"
    )
    width: int = setting(1280, "pixels, even", least=64, most=1920, even=True)
    height: int = setting(720, "pixels, even", least=64, most=1080, even=True)
    frames_per_second: int = setting(25, "pictures a second", least=1, most=60)
    rotation: Literal[0, 180] = setting(0, "degrees the camera is mounted turned by: 0 or 180")
    bitrate_bps: int = setting(
        1_500_000, "bits a second at the start; the network lowers it", least=100_000, most=8_000_000
    )
    encoder: Literal["auto", "hardware", "software", "none"] = setting(
        "auto",
        "who makes H.264: the board where it can, else our own encoder; `none` hands raw pictures over",
    )


@dataclass(frozen=True, slots=True)
class ButtonSection:
    """What presses the bell."""

    adapter: Literal["gpio", "keyboard", "command", "none"] = setting(
        "gpio",
        "`gpio`: a pin; `keyboard`: the Enter key; `command`: only `utd-device press` and SIGUSR1; `none`",
    )
    pin: int = setting(17, "GPIO number (BCM) of the button", least=0, most=53)
    pull_up: bool = setting(True, "the button connects the pin to ground")
    bounce_ms: int = setting(40, "edges closer than this are one press", least=0, most=1000)


@dataclass(frozen=True, slots=True)
class DoorSection:
    """The door opener, a pulse on a relay."""

    adapter: Literal["gpio", "none"] = setting(
        "none", "`gpio`: a pin drives a relay; `none`: there is no opener"
    )
    pin: int = setting(27, "GPIO number (BCM) of the relay", least=0, most=53)
    active_high: bool = setting(True, "the relay pulls in when the pin is high")
    pulse_ms: int = setting(3000, "how long the relay pulls in", least=50, most=30_000)


@dataclass(frozen=True, slots=True)
class DoorbellSection:
    """What a press does, and what a call to the door does."""

    callees: tuple[str, ...] = setting((), "identities to call, in this order")
    mode: Literal["in_turn", "at_once"] = setting(
        "at_once", "`at_once`: all ring, the first to answer wins; `in_turn`: one after the other"
    )
    media: Literal["video", "audio"] = setting("video", "a video call, or sound only")
    ring_timeout_s: float = setting(
        30.0, "how long it rings (in turn: at each) before nobody answered", least=2, most=120
    )
    call_limit_s: float = setting(300.0, "longest call, then the door hangs up", least=10, most=3600)
    chime_file: Path | None = setting(None, "WAV played at the door on a press; not set: the built-in chime")
    chime: bool = setting(True, "play a chime at the door on a press")
    snapshot_folder: Path | None = setting(None, "where a picture of each press is kept; not set: nowhere")
    snapshot_keep: int = setting(50, "how many pictures are kept", least=1, most=10_000)
    no_answer_file: Path | None = setting(None, "WAV played at the door when nobody answered")
    auto_answer: Literal["never", "callees", "always"] = setting(
        "callees", "who may call the door and is answered by itself: nobody, the callees, everybody"
    )
    do_not_disturb: bool = setting(False, "start with the bell silenced")


@dataclass(frozen=True, slots=True)
class KioskSection:
    """The audio room a kiosk stays in."""

    room: str = setting("lobby", "name of the audio room")
    seat: int | None = setting(
        None, "seat to hold (from 0); not set: listen only", least=0, most=MAX_SEATS - 1
    )
    host: bool = setting(False, "join as the room's host")
    seat_count: int = setting(8, "seats of the room, when this kiosk is its host", least=1, most=MAX_SEATS)
    push_to_talk: bool = setting(False, "the microphone is open only while the button is held")


@dataclass(frozen=True, slots=True)
class HomeAssistantSection:
    """Home Assistant over MQTT discovery."""

    enabled: bool = setting(False, "announce this device to Home Assistant")
    host: str = setting("localhost", "its MQTT broker")
    port: int = setting(1883, "its port", least=1, most=65535)
    username: str | None = setting(None, "login at the broker")
    password_file: Path | None = setting(
        None, "file that holds its password; without it the credential `home_assistant_password` is read"
    )
    tls: bool = setting(False, "encrypt the connection")
    ca_file: Path | None = setting(None, "certificate authority of the broker, as PEM")
    discovery_prefix: str = setting("homeassistant", "discovery prefix set in Home Assistant")
    node: str | None = setting(
        None,
        "this device's id in topics, 1 to 64 of A-Z a-z 0-9 _ -; not set: its identity, other signs made -",
    )


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Everything one file says. A section that is not there has its defaults."""

    path: Path
    engine: EngineSection
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

    def secret(self, section: str, name: str, file: Path | None) -> str | None:
        """A secret from its file, else from the service manager's credential; None when there is neither."""
        source = file
        key = f"{name.removeprefix(f'{section}_')}_file"
        if source is None:
            folder = os.environ.get("CREDENTIALS_DIRECTORY")
            if folder is None or not (Path(folder) / name).exists():
                return None
            source = Path(folder) / name
        try:
            text = source.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.path}: [{section}] {key}: {source} cannot be read ({error}); "
                "give a readable file with the secret and nothing else"
            ) from error
        if not text:
            raise ConfigError(f"{self.path}: [{section}] {key}: {source} is empty")
        return text


SECTIONS: Mapping[str, type[Any]] = {
    item.name: typing.get_type_hints(MachineConfig)[item.name]
    for item in dataclasses.fields(MachineConfig)
    if item.name != "path"
}


def load(path: str | Path) -> MachineConfig:
    """The configuration in a file. Raises: ConfigError, whose sentence says what to change."""
    source = Path(path)
    try:
        with source.open("rb") as file:
            tables = tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{source}: there is no such file; `utd-device install-service` writes one, or give --config"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: is not TOML: {error}") from error
    return parse(tables, source)


def parse(tables: Mapping[str, object], source: Path) -> MachineConfig:
    """The configuration in parsed TOML; `source` is named in errors. Raises: ConfigError."""
    for name in tables:
        if name not in SECTIONS:
            raise ConfigError(f"{source}: there is no section [{name}]{_nearest(name, SECTIONS, '[{}]')}")
    sections = {
        name: _section(kind, tables.get(name, {}), f"{source}: [{name}]", source.parent)
        for name, kind in SECTIONS.items()
    }
    return MachineConfig(path=source, **sections)


def without_secrets(text: str) -> str:
    """The text with `name:password` in an address made `***`: rtsp://***@192.168.1.20/stream."""
    return _SECRET_OF_ADDRESS.sub("***", text)


def _section(kind: type[Any], table: object, where: str, folder: Path) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a section, not {_toml(table)}")
    known = {item.name: item for item in dataclasses.fields(kind)}
    for name in table:
        if name not in known:
            raise ConfigError(f"{where} {name}: there is no such key{_nearest(name, known, '{}')}")
    hints = typing.get_type_hints(kind)
    values = {}
    for name, item in known.items():
        if name in table:
            values[name] = _value(hints[name], table[name], item.metadata, f"{where} {name}", folder)
        elif item.default is dataclasses.MISSING:
            raise ConfigError(f"{where} {name}: is missing; it is {item.metadata['help']}")
    return kind(**values)


def _value(hint: Any, value: object, limits: Mapping[str, Any], where: str, folder: Path) -> object:
    """One checked value; a relative path is relative to the configuration file."""
    if typing.get_origin(hint) is types.UnionType:
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        if type(value) not in {type(option) for option in options} or value not in options:
            expected = ", ".join(map(_toml, options))
            near = _nearest(value, [str(o) for o in options], '"{}"') if isinstance(value, str) else ""
            raise ConfigError(f"{where}: must be one of {expected}, not {_toml(value)}{near}")
        return value
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise ConfigError(f'{where}: must be a list of texts, like ["anna", "ben"], not {_toml(value)}')
        return tuple(value)
    if hint is Path:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: must be the path of a file or folder as a text, not {_toml(value)}")
        return folder / Path(value).expanduser()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{where}: must be {words[hint]}, not {_toml(value)}")
    if hint is str and (not value or not str(value).isprintable()):
        raise ConfigError(f"{where}: must be a printable, non-empty text")
    if limits.get("address") and not _ADDRESS.fullmatch(str(value)):
        raise ConfigError(f"{where}: must be an address like http://192.168.1.10:7880, not {_toml(value)}")
    least, most = limits.get("least"), limits.get("most")
    limited = isinstance(value, (int, float)) and least is not None and most is not None
    if limited and not least <= value <= most:  # type: ignore[operator]
        raise ConfigError(f"{where}: must be {least} to {most}, not {_toml(value)}")
    if limits.get("even") and isinstance(value, int) and value % 2:
        raise ConfigError(f"{where}: must be even, not {_toml(value)}")
    return value


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{without_secrets(value)}"'
    return "a table" if isinstance(value, Mapping) else str(value)


def _nearest(name: str, known: Any, form: str) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {form.format(found[0])}?" if found else f"; known are {', '.join(known)}"
