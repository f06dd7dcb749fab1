"""The command `utd-device`: doorbell, kiosk, doctor, pair, install-service, press, relay-off, config.

Owns: the command line, the exit statuses, the log's form. What a verb needs is imported when it runs.
Exit statuses: 0 all is well, 1 it failed or something is missing, 2 the command or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from device.errors import ConfigError
from utdstream import UTDStreamException, __version__
from utdstream.one_line import OneLineFormatter, one_line

try:
    from device import config as configuration
    from device.config import MachineConfig
except ImportError as error:  # the base package is here without its extra `device`
    print(f"utd-device: {error}", file=sys.stderr)
    raise SystemExit(2) from None

OK, FAILED, WRONG = 0, 1, 2
PROGRAMS = ("doorbell", "kiosk")
"""The verbs that run on; the others say what they have to say by themselves."""
_VERBS = {
    "doorbell": ("run a doorbell until it is stopped", ("utd-device doorbell --config doorbell.toml",)),
    "kiosk": ("run a kiosk until it is stopped", ("utd-device kiosk --config kiosk.toml",)),
    "doctor": (
        "check what this device needs, and name the remedy for what is missing",
        ("utd-device doctor --config doorbell.toml", "utd-device doctor --app kiosk --json"),
    ),
    "pair": (
        "get this device's key, with a code of `utdstream engine pair`",
        (
            "sudo utd-device pair 'https://192.168.1.10:8443/pair#7BH6-J0WX-DYAK-RKN8-390T'",
            "utd-device pair 7BH6-J0WX-DYAK-RKN8-390T --base-url https://192.168.1.10:8443 --write doorbell.toml",
            "utd-device pair --write doorbell.toml      asks for the code, which no list of processes then shows",
        ),
    ),
    "press": ("press the button of the running device", ("utd-device press --config doorbell.toml",)),
    "relay-off": (
        "let the door's relay go, whatever a program before left it at",
        ("utd-device relay-off --config doorbell.toml",),
    ),
    "config": (
        "check a configuration and show it as it is understood",
        ("utd-device config check --config doorbell.toml", "utd-device config --example kiosk > kiosk.toml"),
    ),
    "install-service": (
        "start at boot, under systemd",
        (
            "sudo utd-device install-service --app doorbell --app-key-file key",
            "sudo utd-device install-service --app doorbell --remove",
        ),
    ),
}
"""Each verb: its help, its examples."""
_EXAMPLES = """examples:
  utd-device doctor --config doorbell.toml          what is missing, and its remedy
  utd-device doorbell --config doorbell.toml        runs a doorbell
  utd-device press --config doorbell.toml           presses the button of the running one
  utd-device config check --config doorbell.toml    what is wrong with it, or what it says
  utd-device config --example doorbell              a commented configuration to begin with
  sudo utd-device install-service --app doorbell    a service that starts at boot

Without --config: $UTDSTREAM_CONFIG, then $CONFIGURATION_DIRECTORY, then /etc/utdstream, for <app>.toml.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line. Returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.verb in PROGRAMS or chosen.verbose:
        _log_to_stderr(verbose=chosen.verbose)
    try:
        return _run(chosen)
    except ConfigError as error:
        print(f"utd-device: {one_line(error.message)}", file=sys.stderr)
        return WRONG
    except (UTDStreamException, OSError) as error:
        print(f"utd-device: {one_line(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _run(chosen: argparse.Namespace) -> int:
    if chosen.verb == "install-service":
        return _install(chosen)
    if chosen.verb == "config" and chosen.example:
        from device.examples import example

        print(example(chosen.example), end="")
        return OK
    if chosen.verb == "pair":
        return _pair(chosen)
    if chosen.verb == "relay-off":
        return _relay_off(chosen.config)
    app = chosen.verb if chosen.verb in configuration.DEFAULT_PATHS else getattr(chosen, "app", "doorbell")
    config = configuration.load(find_config(chosen.config, app))
    if chosen.verb == "doctor":
        return _doctor(config, app, as_json=chosen.json)
    if chosen.verb == "config":
        return _show(config, as_json=chosen.json)
    if chosen.verb == "press":
        from device.trigger.command import press

        press(config)
        print("pressed")
        return OK
    from device.memory import ANEW, start_anew
    from device.service import App, Service

    program: App
    if chosen.verb == "doorbell":
        from device.doorbell.app import Doorbell

        program = Doorbell(config)
    else:
        from device.kiosk.app import Kiosk

        program = Kiosk(config)
    status = Service().run(program)
    if status == ANEW:
        start_anew()
    return status


def find_config(given: Path | None, app: str) -> Path:
    """Finds the configuration: the option, the environment, the service's folder, /etc/utdstream."""
    if given is not None:
        return given
    named = os.environ.get("UTDSTREAM_CONFIG")
    if named:
        return Path(named)
    folders = [folder for folder in os.environ.get("CONFIGURATION_DIRECTORY", "").split(":") if folder]
    places = [Path(folder) / f"{app}.toml" for folder in folders] + [configuration.DEFAULT_PATHS[app]]
    return next((place for place in places if place.exists()), places[-1])


def _pair(chosen: argparse.Namespace) -> int:
    """Writes key, authority and configuration; the key where `install-service` looks for it."""
    from device.examples import example
    from utdstream.pairing import pair

    if chosen.code is None and sys.stdin.isatty():
        print("The code, or the address with it: ", end="", file=sys.stderr, flush=True)
    file = chosen.write or find_config(None, chosen.app)
    done = pair(
        chosen.code or sys.stdin.readline(),
        base_url=chosen.base_url,
        app_key_file=file.with_name("app_key"),
        ca_file=file.with_name("engine-ca.pem"),
        settings_file=file,
        new_settings=example(chosen.app),
    )
    if chosen.json:
        print(json.dumps({**done.facts(), "settings_file": str(file.absolute())}))
        return OK
    print(f"paired as {one_line(done.identity)}; {file} says how, the key is in {done.app_key_file}")
    print(f"`utd-device doctor --config {file}` says what else is missing")
    return OK


def _relay_off(given: Path | None) -> int:
    """Lets the relay go; the unit calls it when the doorbell has ended, in whatever way."""
    from device.trigger.relay import left_behind, let_go

    door = left_behind() or configuration.load(find_config(given, "doorbell")).door
    if door.adapter == "none":
        print("there is no relay")
        return OK
    let_go(door)
    print("the relay is off")
    return OK


def _doctor(config: MachineConfig, app: str, *, as_json: bool) -> int:
    from device.doctor import examine
    from utdstream.checks import as_json as json_of
    from utdstream.checks import as_table, passed

    checks = examine(config, app)
    print(json_of(checks) if as_json else as_table(checks))
    return OK if passed(checks) else FAILED


def _show(config: MachineConfig, *, as_json: bool) -> int:
    """Prints the configuration as it is understood: a secret by its place alone, a camera's masked."""
    sections = {
        name: {key: _shown(value) for key, value in dataclasses.asdict(getattr(config, name)).items()}
        for name in configuration.SECTIONS
    }
    if as_json:
        print(json.dumps(sections, indent=1))
        return OK
    from utdstream.settings import toml

    for name, keys in sections.items():
        print(f"[{name}]")
        for key, value in keys.items():
            print(f"{key} = {toml(value)}" if value is not None else f"#{key} is not set")
        print()
    return OK


def _shown(value: object) -> object:
    from utdstream.settings import shown

    return shown(str(value)) if isinstance(value, (str, Path)) else value


def _install(chosen: argparse.Namespace) -> int:
    from device.install import Installation

    installation = Installation(
        chosen.app, root=chosen.root, dry_run=chosen.dry_run, key_file=chosen.app_key_file
    )
    if chosen.remove:
        installation.remove()
        return OK
    installation.run()
    if chosen.root == Path("/") and not chosen.dry_run:
        print(f"\n`systemctl status utd-{chosen.app}` says how it is")
    return OK


def _log_to_stderr(*, verbose: bool) -> None:
    """Logs under systemd with the journal's level in front, in a terminal with the time."""
    handler = logging.StreamHandler()
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(_DeviceFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("livekit").setLevel(logging.DEBUG if verbose else logging.ERROR)


class _DeviceFormatter(OneLineFormatter):
    """No line holds what an address of a camera keeps secret, whichever library wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        return configuration.without_secrets(super().format(record))


class _JournalFormatter(_DeviceFormatter):
    """`<N>` in front of a line is its priority in the journal."""

    _PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in self._PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="utd-device",
        description="Doorbells and kiosks on a device.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"utdstream {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (help_text, examples) in _VERBS.items():
        added = verbs.add_parser(
            verb,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            epilog="examples:\n" + "".join(f"  {line}\n" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.add_argument("-v", "--verbose", action="store_true", help="log every step")
        if verb == "pair":
            _add_pair(added)
        elif verb != "install-service":
            added.add_argument("--config", type=Path, metavar="FILE", help="the configuration (TOML)")
        if verb in ("doctor", "config"):
            added.add_argument("--json", action="store_true", help="print JSON, for programs")
        if verb in ("doctor", "config", "press"):
            added.add_argument(
                "--app",
                choices=("doorbell", "kiosk"),
                default="doorbell",
                help="the app whose default file is read",
            )
        if verb == "config":
            added.add_argument(
                "action",
                nargs="?",
                choices=("check",),
                default="check",
                help="check it, and show it as it is understood (the default)",
            )
            added.add_argument(
                "--example", choices=("doorbell", "kiosk"), help="print a commented example instead"
            )
        if verb == "install-service":
            added.add_argument(
                "--app",
                choices=("doorbell", "kiosk", "engine"),
                default="doorbell",
                help="the service (default doorbell)",
            )
            added.add_argument(
                "--app-key-file",
                type=Path,
                metavar="FILE",
                help="file that holds the app key (default: standard input)",
            )
            added.add_argument("--dry-run", action="store_true", help="print the steps, and do none")
            added.add_argument("--remove", action="store_true", help="stop the service and remove its unit")
            added.add_argument(
                "--root",
                type=Path,
                default=Path("/"),
                metavar="DIR",
                help="install into the image that is mounted there",
            )
    return parser


def _add_pair(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("code", metavar="CODE-OR-URL", nargs="?", help="the code, or the address with it")
    verb.add_argument("--base-url", metavar="URL", help="the engine, for a code alone")
    verb.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="the configuration that gets the lines; app_key and engine-ca.pem go beside it (default: the app's)",
    )
    verb.add_argument("--app", choices=("doorbell", "kiosk"), default="doorbell", help="whose configuration")
    verb.add_argument("--json", action="store_true", help="print JSON, for programs")


if __name__ == "__main__":
    sys.exit(main())
