"""`utd-device doctor`: what is plugged in, what answers, what is missing, and the command that mends it.

Owns: the checks. Each looks at one thing and changes nothing; one that raises is a finding like the others.
Adapters are asked through their own lists, late.
"""

from __future__ import annotations

import grp
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib import util
from pathlib import Path
from urllib.parse import urlsplit

from device.config import MachineConfig, without_secrets
from utdstream import AuthenticationFailed, UTDStreamClient, UTDStreamException

OK, WARN, MISSING = "ok", "warn", "missing"
ANSWER_S = 5.0
CLOCK_OFF_S = 5.0
INSTALLED_KEY = Path("/etc/utdstream/app_key")
"""Where `install-service` puts the key: the unit is given it as a credential, the doctor has to look there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is a command or a sentence, empty when all is well."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(config: MachineConfig, app: str = "doorbell") -> list[Finding]:
    """All checks that matter for this configuration of `app`. Blocks: some seconds when nothing answers."""
    checks: list[Callable[[MachineConfig], Iterator[Finding]]] = [
        _python, _packages, _files, _sound, _camera, _gpio, _groups, _engine, _sign_in, _home_assistant
    ]  # fmt: skip
    findings = [Finding("configuration", OK, str(config.path))]
    if app == "doorbell" and not config.doorbell.callees:
        findings.append(
            Finding(
                "callees", WARN, "a press calls nobody", 'set [doorbell] callees to a list, like ["house"]'
            )
        )
    for check in checks:
        try:
            findings += check(config)
        except Exception as error:  # noqa: BLE001 - a broken driver must not hide the other findings
            words = without_secrets(f"could not be examined: {error or type(error).__name__}")
            findings.append(Finding(check.__name__.strip("_"), WARN, words, "try again, then tell us"))
    return findings + service(app)


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
        wanted.append(("gpiozero", "sudo apt install python3-gpiozero", True))
        wanted.append(("lgpio", "sudo apt install python3-lgpio: a Pi 5 has no other way", False))
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


def _files(config: MachineConfig) -> Iterator[Finding]:
    """The sounds that the configuration names."""
    for key in ("chime_file", "no_answer_file"):
        path = getattr(config.doorbell, key)
        if path is not None and not path.is_file():
            yield Finding(
                key, MISSING, f"there is no file {path}", f"put a WAV there, or take [doorbell] {key} out"
            )


def _sound(config: MachineConfig) -> Iterator[Finding]:
    if config.audio.adapter != "alsa":
        yield Finding("sound", OK, f"adapter {config.audio.adapter}")
        return
    if util.find_spec("pyaudio") is None:
        return  # said with the packages
    from device.audio.cards import choose, list_devices

    devices = list_devices()
    names = [f'"{each.name}" ({each.inputs} in, {each.outputs} out)' for each in devices]
    if names:
        yield Finding("sound cards", OK, ", ".join(names))
    else:
        yield Finding("sound cards", WARN, "none", "plug one in; `aplay -l` and `arecord -l` list them")
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
    elif camera.adapter == "picamera2":
        if util.find_spec("picamera2") is None:
            return  # said with the packages
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
    """Without the key: a wrong key and a wrong address must not look alike."""
    url = config.engine.base_url
    shown, begun = without_secrets(url), time.monotonic()
    try:
        status, date = _health(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield Finding(
            "engine",
            MISSING,
            f"{shown} does not answer ({error or type(error).__name__})",
            "check [engine] base_url and the network; over there: `utdstream engine up --lan`",
        )
        return
    if status >= 500:
        yield Finding("engine", MISSING, f"{shown} answers {status}", "look at the engine's own log")
    else:
        yield Finding("engine", OK, f"{shown} answers after {(time.monotonic() - begun) * 1000:.0f} ms")
    yield clock(date, time.time())


def _health(url: str) -> tuple[int, str]:
    """Status and `Date` of the engine's `GET /health`."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        connection.request("GET", parts.path.rstrip("/") + "/health")
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Date", "")
    finally:
        connection.close()


def clock(date: str, now: float) -> Finding:
    """This machine's clock against the `Date` of an answer, which is in whole seconds."""
    try:
        off_s = now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Finding("clock", OK, "the engine does not tell its own")
    if abs(off_s) <= CLOCK_OFF_S:
        return Finding("clock", OK, "the same as the engine's")
    way = "ahead of" if off_s > 0 else "behind"
    return Finding("clock", WARN, f"{abs(off_s):.0f} s {way} the engine's", "sudo timedatectl set-ntp true")


def _sign_in(config: MachineConfig) -> Iterator[Finding]:
    path = config.engine.app_key_file
    try:
        if path is None and "CREDENTIALS_DIRECTORY" not in os.environ and INSTALLED_KEY.exists():
            path = INSTALLED_KEY
        key = config.secret("engine", "app_key", path) or config.app_key
    except UTDStreamException as error:
        denied = isinstance(error.__cause__, PermissionError)
        remedy = "sudo utd-device doctor ..." if denied else "put the key into the file; mode 0600"
        yield Finding("app key", MISSING, error.message, remedy)
        return
    yield _app_key(path)
    who = config.device.identity
    try:
        with UTDStreamClient(config.engine.app_id, key, base_url=config.engine.base_url) as client:
            client.authenticate(identity=who, timeout=ANSWER_S)
            yield Finding("sign-in", OK, f"the engine let {who} in")
            yield _broker(client)
    except UTDStreamException as error:
        refused = isinstance(error, AuthenticationFailed)
        remedy = "check [engine] app_id and the app key" if refused else "see the line of the engine"
        yield Finding("sign-in", MISSING, without_secrets(error.message), remedy)


def _app_key(path: Path | None) -> Finding:
    if path is not None and path.stat().st_mode & 0o077:
        return Finding("app key", WARN, f"{path} can be read by others (not shown)", f"sudo chmod 600 {path}")
    return Finding("app key", OK, "found (not shown)")


def _broker(client: UTDStreamClient) -> Finding:
    try:
        client.incoming_calls().connected.wait_for(True, timeout=ANSWER_S)
    except (UTDStreamException, TimeoutError) as error:
        timed_out = isinstance(error, TimeoutError)
        return Finding(
            "broker",
            WARN,
            "does not answer: calls come late" if timed_out else without_secrets(str(error)),
            "is the broker's port open on the engine's machine?",
        )
    return Finding("broker", OK, "calls can arrive")


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


def service(app: str) -> list[Finding]:
    """How the unit is, where systemd runs."""
    if not Path("/run/systemd/system").is_dir():
        return []
    unit = f"utd-{app}.service"
    try:
        asked = subprocess.run(
            ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState,StatusText", unit],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [Finding("service", WARN, f"systemctl cannot be asked: {error}", "sudo systemctl status")]
    return [unit_finding(app, asked.stdout)]


def unit_finding(app: str, properties: str) -> Finding:
    """What `systemctl show` said of the unit, one `Name=value` a line."""
    said = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)
    unit = f"utd-{app}"
    if said.get("LoadState") != "loaded":
        return Finding(
            "service", WARN, f"{unit} is not installed", f"sudo utd-device install-service --app {app}"
        )
    found = f"{unit} is {said.get('ActiveState')}"
    found += f": {said['StatusText']}" if said.get("StatusText") else ""
    if said.get("ActiveState") != "active":
        return Finding("service", WARN, found, f"journalctl -u {unit} -e; sudo systemctl start {unit}")
    if said.get("UnitFileState") != "enabled":
        return Finding("service", WARN, f"{found}, and not started at boot", f"sudo systemctl enable {unit}")
    return Finding("service", OK, found)
