"""`utd-device doctor`: what is plugged in, what answers, what is missing, and the command that mends it.

Owns: the checks. Each looks at one thing and changes nothing; one that raises is a finding like the others.
Adapters are asked through their own lists, late.
"""

from __future__ import annotations

import grp
import os
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import util
from pathlib import Path

from device import memory, registry
from device.as_root import as_root
from device.config import MachineConfig, without_secrets
from device.link import in_settings, refusal_remedy
from utdstream import (
    AuthenticationFailed,
    ClientConfig,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    UTDStreamClient,
    UTDStreamException,
)
from utdstream.checks import Check, CheckState, engine_checks, machine_checks, package_check

OK, WARN, FAIL = CheckState.OK, CheckState.WARN, CheckState.FAIL
ANSWER_S = 5.0
INSTALLED_KEY = Path("/etc/utdstream/app_key")
"""Where `install-service` puts the key: the unit is given it as a credential, the doctor has to look there."""


def examine(config: MachineConfig, app: str = "doorbell") -> list[Check]:
    """Returns all checks that matter for this configuration of `app`.

    Blocks: some seconds when nothing answers.
    """
    looks: list[Callable[[MachineConfig], Iterator[Check]]] = [
        _packages, _files, _door, _sound, _camera, _gpio, _groups, _engine, _sign_in, _home_assistant
    ]  # fmt: skip
    checks = [Check("configuration", OK, str(config.path)), *machine_checks()]
    checks += memory.examine(config.device.memory_limit_mib)
    if app == "doorbell" and not config.doorbell.callees:
        remedy = 'set [doorbell] callees to a list, like ["house"]'
        checks.append(Check("callees", WARN, "a press calls no one", remedy))
    for look in looks:
        try:
            checks += look(config)
        except Exception as error:  # noqa: BLE001 - a broken driver must not hide the other checks
            words = without_secrets(f"could not be examined: {error or type(error).__name__}")
            checks.append(Check(look.__name__.strip("_"), WARN, words, "try again, then report it"))
    return checks + service(app)


def _packages(config: MachineConfig) -> Iterator[Check]:
    yield package_check("livekit", exact=True)
    yield package_check("paho-mqtt", use="incoming calls over MQTT and Home Assistant")
    if config.audio.adapter == "alsa":
        yield package_check("pyaudio", module="pyaudio", remedy="sudo apt install python3-pyaudio")
    if config.camera.adapter != "none":
        needed = config.camera.encoder != "none" or config.camera.adapter == "pyav"
        yield package_check("av", module="av", remedy="sudo apt install python3-av", needed=needed)
    if config.camera.adapter == "picamera2":
        remedy = "sudo apt install python3-picamera2, in a venv --system-site-packages"
        yield package_check("picamera2", module="picamera2", remedy=remedy)
        yield from _numpy()
    if "gpio" in (config.button.adapter, config.door.adapter):
        yield package_check("gpiozero", module="gpiozero", remedy="sudo apt install python3-gpiozero")
        remedy = "sudo apt install python3-lgpio: a Pi 5 has no other way"
        yield package_check("lgpio", module="lgpio", remedy=remedy, needed=False)


def _numpy() -> Iterator[Check]:
    import numpy

    python = platform.python_version_tuple()[:2]  # not sys.version_info: mypy on 3.12 would see no way in
    if int(numpy.__version__.split(".")[0]) >= 2 and python == ("3", "11"):
        found = f"{numpy.__version__}: Bookworm's own packages were built for 1.x"
        yield Check("package numpy", WARN, found, 'pip install "numpy>=1.26,<2"')


def _files(config: MachineConfig) -> Iterator[Check]:
    """Checks the sounds that the configuration names."""
    for key in ("chime_file", "no_answer_file"):
        path = getattr(config.doorbell, key)
        if path is not None and not path.is_file():
            yield Check(
                key, FAIL, f"there is no file {path}", f"put a WAV there, or take [doorbell] {key} out"
            )


def _door(config: MachineConfig) -> Iterator[Check]:
    """Checks that those who shall open the door can, and that its PIN can be read by the door alone."""
    deaf = [name for name in config.door.openers if name not in config.doorbell.callees]
    if deaf:
        found = f"the door refuses the calls of {', '.join(deaf)}"
        yield Check("openers", WARN, found, "name them in [doorbell] callees too")
    if config.door.openers and config.doorbell.auto_answer == "always":
        found = 'with auto_answer = "always" no caller opens the door'
        yield Check("openers", WARN, found, 'set [doorbell] auto_answer = "callees"')
    path = config.door.pin_file
    try:
        pin = config.door_pin
    except UTDStreamException as error:
        yield Check("door PIN", FAIL, error.message, "put the PIN into the file; mode 0600")
        return
    if path is not None and path.stat().st_mode & 0o077:
        yield Check("door PIN", WARN, f"{path} can be read by others (not shown)", f"sudo chmod 600 {path}")
    elif pin is not None:
        yield Check("door PIN", OK, "found (not shown)")


def _sound(config: MachineConfig) -> Iterator[Check]:
    if config.audio.adapter != "alsa":
        yield Check("sound", OK, f"adapter {config.audio.adapter}")
        return
    if util.find_spec("pyaudio") is None:
        return  # said with the packages
    from device.audio.portaudio import choose, list_devices

    devices = list_devices()
    names = [f'"{each.name}" ({each.inputs} in, {each.outputs} out)' for each in devices]
    if names:
        yield Check("sound cards", OK, ", ".join(names))
    else:
        yield Check("sound cards", WARN, "none", "plug one in; `aplay -l` and `arecord -l` list them")
    for what, name, capture in (
        ("microphone", config.audio.microphone, True),
        ("speaker", config.audio.speaker, False),
    ):
        if name == "none":
            yield Check(what, OK, "none is wanted")
            continue
        try:
            chosen = choose(devices, name, capture=capture)
        except UTDStreamException as error:
            yield Check(
                what,
                FAIL,
                error.message,
                f"plug one in, or set [audio] {what} to a name that is there (or none)",
            )
        else:
            yield Check(what, OK, f"{chosen.name} ({chosen.default_rate_hz} Hz)")


def _camera(config: MachineConfig) -> Iterator[Check]:
    """Asks the adapter itself: what a camera is and where it may be, its own module knows."""
    yield from registry.examine_camera(config)


def _gpio(config: MachineConfig) -> Iterator[Check]:
    if "gpio" not in (config.button.adapter, config.door.adapter):
        return
    chips = sorted(map(str, Path("/dev").glob("gpiochip*")))
    if chips:
        yield Check("GPIO", OK, ", ".join(chips))
    else:
        yield Check("GPIO", FAIL, "no /dev/gpiochip*", 'set [button] adapter to "keyboard" or "command" here')


def _groups(config: MachineConfig) -> Iterator[Check]:
    wanted = {
        "audio": config.audio.adapter == "alsa",
        "video": config.camera.adapter == "picamera2"
        or (config.camera.adapter == "pyav" and config.camera.source.startswith("/dev/")),
        "gpio": "gpio" in (config.button.adapter, config.door.adapter),
    }
    if os.geteuid() == 0:
        return
    mine = {grp.getgrgid(number).gr_name for number in os.getgroups()}
    for name, needed in wanted.items():
        if needed and name not in mine:
            yield Check(
                f"group {name}",
                WARN,
                "this user is not in it",
                f"sudo usermod -aG {name} $USER, then sign in again",
            )


def _engine(config: MachineConfig) -> Iterator[Check]:
    """Checks the engine without the key: a wrong key and a wrong address must not look alike."""
    for check in engine_checks(config.engine.base_url, config.engine.ca_file):
        yield replace(check, remedy=in_settings(check.remedy, config))


def _sign_in(config: MachineConfig) -> Iterator[Check]:
    path = config.engine.app_key_file
    try:
        if path is None and "CREDENTIALS_DIRECTORY" not in os.environ and INSTALLED_KEY.exists():
            path = INSTALLED_KEY
        key = config.secret("engine", "app_key", path) or config.app_key
    except UTDStreamException as error:
        denied = isinstance(error.__cause__, PermissionError)
        remedy = as_root("doctor ...") if denied else "put the app key alone into the file; mode 0600"
        yield Check("app key", FAIL, error.message, remedy)
        return
    yield _app_key(path)
    identity = config.device.identity
    try:
        trusted = ClientConfig(ca_file=config.engine.ca_file)
        with UTDStreamClient(
            config.engine.app_id, key, base_url=config.engine.base_url, config=trusted
        ) as client:
            client.authenticate(identity=identity, timeout=ANSWER_S)
            yield Check("sign-in", OK, f"the engine signed {identity} in")
            yield _broker(client, config)
    except UTDStreamException as error:
        refused = isinstance(error, (AuthenticationFailed, PermissionDenied, InvalidRequest))
        remedy = refusal_remedy(config, error) if refused else "see the line of the engine"
        if isinstance(error, RateLimited):
            remedy = f"try again in {error.retry_after_s or 60:.0f} s"
        yield Check("sign-in", FAIL, without_secrets(in_settings(error.message, config)), remedy)


def _app_key(path: Path | None) -> Check:
    if path is not None and path.stat().st_mode & 0o077:
        return Check("app key", WARN, f"{path} can be read by others (not shown)", f"sudo chmod 600 {path}")
    return Check("app key", OK, "found (not shown)")


def _broker(client: UTDStreamClient, config: MachineConfig) -> Check:
    found = "does not answer"
    try:
        inbox = client.incoming_calls()
        try:
            inbox.connected.wait_for(True, timeout=ANSWER_S)
        finally:
            found = in_settings(inbox.problem or found, config)
    except (UTDStreamException, TimeoutError) as error:
        timed_out = isinstance(error, TimeoutError)
        return Check(
            "broker",
            WARN,
            f"{found}: calls come late" if timed_out else without_secrets(str(error)),
            "is the broker's port open on the engine's machine?",
        )
    return Check("broker", OK, "calls can arrive")


def _home_assistant(config: MachineConfig) -> Iterator[Check]:
    settings = config.home_assistant
    if not settings.enabled:
        return
    place = f"{settings.host}:{settings.port}"
    try:
        socket.create_connection((settings.host, settings.port), 3).close()
    except OSError as error:
        yield Check(
            "Home Assistant", WARN, f"the broker at {place} does not answer ({error})", "see [home_assistant]"
        )
    else:
        yield Check("Home Assistant", OK, f"a broker answers at {place}")


def service(app: str) -> list[Check]:
    """Checks the unit, where systemd runs."""
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
        return [Check("service", WARN, f"systemctl cannot be asked: {error}", "sudo systemctl status")]
    return [unit_finding(app, asked.stdout)]


def unit_finding(app: str, properties: str) -> Check:
    """Judges what `systemctl show` said of the unit, one `Name=value` a line."""
    said = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)
    unit = f"utd-{app}"
    if said.get("LoadState") != "loaded":
        return Check("service", WARN, f"{unit} is not installed", as_root(f"install-service --app {app}"))
    found = f"{unit} is {said.get('ActiveState')}"
    found += f": {said['StatusText']}" if said.get("StatusText") else ""
    if said.get("ActiveState") != "active":
        return Check("service", WARN, found, f"journalctl -u {unit} -e; sudo systemctl start {unit}")
    if said.get("UnitFileState") != "enabled":
        return Check("service", WARN, f"{found}, and not started at boot", f"sudo systemctl enable {unit}")
    return Check("service", OK, found)
