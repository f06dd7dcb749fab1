"""`utd-device doctor`: what is plugged in, what answers, what is missing, and the command that mends it.

Owns: the checks. Each is a function that never raises; adapters are asked through their own lists, late.
"""

from __future__ import annotations

import grp
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path

from device.config import MachineConfig
from utdstream import AuthenticationFailed, UTDStreamClient, UTDStreamException

OK, WARN, MISSING = "ok", "warn", "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is a command or a sentence, empty when all is well."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(config: MachineConfig) -> list[Finding]:
    """All checks that matter for this configuration. Blocks: some seconds when nothing answers."""
    checks: tuple[Callable[[MachineConfig], Iterator[Finding]], ...] = (
        _python, _packages, _sound, _camera, _gpio, _groups, _engine, _home_assistant
    )  # fmt: skip
    findings = [Finding("configuration", OK, str(config.path))]
    for check in checks:
        try:
            findings += check(config)
        except Exception as error:  # noqa: BLE001 - a broken driver must not hide the other findings
            findings.append(Finding(check.__name__.strip("_"), WARN, f"could not be examined: {error}"))
    return findings


def table(findings: list[Finding]) -> str:
    """For people."""
    width = max(len(item.what) for item in findings)
    lines = []
    for item in findings:
        lines.append(f"{item.state:>7}  {item.what:<{width}}  {item.found}")
        if item.remedy:
            lines.append(f"{'':>7}  {'':<{width}}  -> {item.remedy}")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> list[dict[str, str]]:
    """For programs."""
    return [asdict(item) for item in findings]


def is_fit(findings: list[Finding]) -> bool:
    """Nothing that the configuration needs is missing."""
    return all(item.state != MISSING for item in findings)


def _python(_config: MachineConfig) -> Iterator[Finding]:
    bits = 64 if sys.maxsize > 2**32 else 32
    version = ".".join(map(str, sys.version_info[:3]))
    if bits == 32:
        yield Finding("system", MISSING, "32 bits", "install the 64-bit system: LiveKit has no 32-bit build")
    else:
        yield Finding("system", OK, f"64 bits, Python {version}")


def _packages(config: MachineConfig) -> Iterator[Finding]:
    wanted = [("livekit", "pip install utdstream", True), ("paho", "pip install utdstream[mqtt]", True)]
    if config.audio.adapter == "alsa":
        wanted.append(("pyaudio", "sudo apt install python3-pyaudio", True))
    if config.camera.adapter != "none":
        wanted.append(("av", "sudo apt install python3-av", config.camera.encoder != "none"))
    if config.camera.adapter == "picamera2":
        wanted.append(
            ("picamera2", "sudo apt install python3-picamera2, in a venv --system-site-packages", True)
        )
    if "gpio" in (config.button.adapter, config.door.adapter):
        wanted.append(("gpiozero", "sudo apt install python3-gpiozero python3-lgpio", True))
    for name, remedy, needed in wanted:
        if util.find_spec(name) is not None:
            yield Finding(f"package {name}", OK, "installed")
        else:
            yield Finding(f"package {name}", MISSING if needed else WARN, "not installed", remedy)
    import numpy

    major = int(numpy.__version__.split(".")[0])
    if config.camera.adapter == "picamera2" and major >= 2 and sys.version_info < (3, 12):
        yield Finding(
            "package numpy", WARN, f"{numpy.__version__}: Bookworm's own packages were built for 1.x",
            'pip install "numpy>=1.26,<2"',
        )  # fmt: skip


def _sound(config: MachineConfig) -> Iterator[Finding]:
    if config.audio.adapter != "alsa" or util.find_spec("pyaudio") is None:
        yield Finding("sound", OK, f"adapter {config.audio.adapter}")
        return
    from device.audio.cards import choose, list_devices

    devices = list_devices()
    for what, name, capture in (
        ("microphone", config.audio.microphone, True),
        ("speaker", config.audio.speaker, False),
    ):
        if name == "none":
            yield Finding(what, OK, "none is wanted")
            continue
        try:
            chosen = choose(devices, name, capture=capture)
        except UTDStreamException as error:
            yield Finding(
                what,
                MISSING,
                error.message,
                f"plug one in, or set [audio] {what} to a name that is there (or none)",
            )
        else:
            yield Finding(what, OK, f"{chosen.name} ({chosen.default_rate_hz} Hz)")


def _camera(config: MachineConfig) -> Iterator[Finding]:
    camera = config.camera
    if camera.adapter == "pyav" and camera.source.startswith("/dev/"):
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        if Path(camera.source).exists():
            yield Finding("camera", OK, camera.source)
        else:
            yield Finding(
                "camera",
                MISSING,
                f"no {camera.source}; there are: {there}",
                "plug it in, or set [camera] source",
            )
    elif camera.adapter == "picamera2" and util.find_spec("picamera2") is not None:
        from device.camera.picamera2 import import_picamera2

        found = import_picamera2().Picamera2.global_camera_info()
        names = ", ".join(str(each.get("Model")) for each in found)
        if camera.source.isdecimal() and int(camera.source) < len(found):
            yield Finding("camera", OK, names)
        else:
            yield Finding(
                "camera",
                MISSING,
                f"cameras there are: {names or 'none'}",
                "check the cable; rpicam-hello --list-cameras",
            )
    else:
        yield Finding("camera", OK, f"adapter {camera.adapter}")


def _gpio(config: MachineConfig) -> Iterator[Finding]:
    if "gpio" not in (config.button.adapter, config.door.adapter):
        return
    chips = sorted(map(str, Path("/dev").glob("gpiochip*")))
    if chips:
        yield Finding("GPIO", OK, ", ".join(chips))
    else:
        yield Finding(
            "GPIO", MISSING, "no /dev/gpiochip*", 'set [button] adapter to "keyboard" or "command" here'
        )


def _groups(config: MachineConfig) -> Iterator[Finding]:
    wanted = {
        "audio": config.audio.adapter == "alsa",
        "video": config.camera.adapter in ("picamera2", "pyav"),
        "gpio": "gpio" in (config.button.adapter, config.door.adapter),
    }
    if os.geteuid() == 0:
        return
    mine = {grp.getgrgid(number).gr_name for number in os.getgroups()}
    for name, needed in wanted.items():
        if needed and name not in mine:
            yield Finding(
                f"group {name}",
                WARN,
                "this user is not in it",
                f"sudo usermod -aG {name} $USER, then sign in again",
            )


def _engine(config: MachineConfig) -> Iterator[Finding]:
    url = config.engine.base_url
    try:
        key = config.app_key
    except UTDStreamException as error:
        yield Finding("app key", MISSING, error.message, "put the key into the file; mode 0600")
        return
    yield Finding("app key", OK, "found (not shown)")
    begun = time.monotonic()
    try:
        with UTDStreamClient(config.engine.app_id, key, base_url=url) as client:
            client.authenticate(identity=config.device.identity, timeout=5)
            took_ms = (time.monotonic() - begun) * 1000
            yield Finding("engine", OK, f"{url} let {config.device.identity} in after {took_ms:.0f} ms")
            yield _clock(client)
            inbox = client.incoming_calls()
            inbox.connected.wait_for(True, timeout=5)
            yield Finding("broker", OK, "calls can arrive")
    except AuthenticationFailed as error:
        yield Finding("engine", MISSING, error.message, "check [engine] app_id and the app key")
    except TimeoutError:
        yield Finding(
            "broker",
            WARN,
            "does not answer: calls come late",
            "is the broker's port open on the engine's machine?",
        )
    except UTDStreamException as error:
        yield Finding(
            "engine",
            MISSING,
            error.message,
            "check [engine] base_url; `utdstream engine up --lan` over there",
        )


def _clock(client: UTDStreamClient) -> Finding:
    off_s = client.engine_time().timestamp() - time.time()
    if abs(off_s) < 5:
        return Finding("clock", OK, f"{off_s:+.1f} s against the engine's")
    return Finding("clock", WARN, f"{off_s:+.0f} s against the engine's", "sudo timedatectl set-ntp true")


def _home_assistant(config: MachineConfig) -> Iterator[Finding]:
    settings = config.home_assistant
    if not settings.enabled:
        return
    place = f"{settings.host}:{settings.port}"
    try:
        socket.create_connection((settings.host, settings.port), 3).close()
    except OSError as error:
        yield Finding(
            "Home Assistant", WARN, f"the broker at {place} does not answer ({error})", "see [home_assistant]"
        )
    else:
        yield Finding("Home Assistant", OK, f"a broker answers at {place}")
