"""The `utdstream` command: verbs, their arguments, exit statuses.

Owns: `main`. Everything a verb needs is imported when the verb runs. Exit status: 0 done, 1 one sentence on
stderr says why not, 2 wrong usage, 130 Ctrl-C.

A new verb is one function like `_add_doctor`, listed in `_VERBS`; what it does lives in a module of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from utdstream import __version__
from utdstream.errors import InvalidConfig, UTDStreamException

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLES = """\
examples:
  utdstream demo                       a door process calls a house process, here and now
  utdstream doctor                     is everything here that calls need?
  utdstream engine up                  engine, media server and broker for this machine
  utdstream engine up --lan            the same for all devices on this network
  utdstream engine serve --config FILE the engine alone, beside your own livekit-server
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing more to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UTDStreamException, OSError) as error:
        print(f"utdstream: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="utdstream",
        description="Calls, live streams and audio rooms for devices: the commands.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"utdstream {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _VERBS:
        add(verbs)
    return parser


def _add_demo(verbs: Verbs) -> None:
    demo = verbs.add_parser(
        "demo",
        help="one real call between two processes, measured",
        description="Start the servers, a door process and a house process on this machine, and make one "
        "real video call with sound both ways. Leaves house-sees.png, door-hears.wav and report.json. Exit "
        "status 1 when the call did not work, or not as well as it should.",
        epilog="examples:\n  utdstream demo\n  utdstream demo --seconds 30 --out /tmp/demo --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--seconds", metavar="N", type=_talk_seconds, default=10.0, help="how long they talk (default 10)"
    )
    demo.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("demo-out"), help="where it goes (default demo-out)"
    )
    demo.add_argument("--json", action="store_true", help="print the report, and the progress on stderr")
    demo.set_defaults(run=_demo)


def _talk_seconds(text: str) -> float:
    seconds = float(text)
    if not 2 <= seconds <= 300:
        raise argparse.ArgumentTypeError(f"must be 2 to 300, not {text}")
    return seconds


def _demo(arguments: argparse.Namespace) -> int:
    from utdstream._demo import parent

    return parent.run(seconds=arguments.seconds, out=arguments.out, as_json=arguments.json)


def _add_engine(verbs: Verbs) -> None:
    engine = verbs.add_parser(
        "engine",
        help="the self-hosted engine",
        description="The self-hosted engine, with or without the servers around it.",
    )
    actions = engine.add_subparsers(title="actions", metavar="ACTION", required=True)

    up = actions.add_parser(
        "up",
        help="engine, media server and broker, until Ctrl-C",
        description="Run engine, livekit-server and mosquitto until Ctrl-C, and start again what dies. "
        "The first run makes a data folder with the project's keys; later runs keep them.",
        epilog="examples:\n  utdstream engine up\n  utdstream engine up --lan --data /srv/utdstream\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.add_argument("--config", metavar="FILE", type=Path, help="settings that win over the kept ones (TOML)")
    up.add_argument("--data", metavar="DIR", type=Path, help="data folder (default ~/.local/share/utdstream)")
    up.add_argument("--lan", action="store_true", help="serve this machine's network, not this machine alone")
    up.add_argument("--json", action="store_true", help="say where everything is as one line of JSON")
    up.set_defaults(run=_engine_up)

    serve = actions.add_parser(
        "serve",
        help="the engine alone",
        description="Run the engine alone, beside a livekit-server and a broker of your own.",
    )
    serve.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the engine's settings (TOML)"
    )
    serve.set_defaults(run=_engine_serve)


def _engine_up(arguments: argparse.Namespace) -> int:
    from utdstream.engine import up

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    def announce(facts: dict[str, object]) -> None:
        if arguments.json:
            print(json.dumps(facts), flush=True)
            return
        print(
            "The stack is up; Ctrl-C stops it.\n"
            f"  engine   {facts['base_url']}\n"
            f"  media    {facts['livekit_url']}\n"
            f"  broker   {facts['mqtt_host']}:{facts['mqtt_port']}\n"
            f"  app id   {facts['app_id']}\n"
            f"  keys     {facts['keys_file']}\n"
            f"  logs     {facts['logs']}",
            flush=True,
        )

    return up.run(config=arguments.config, data=arguments.data, lan=arguments.lan, announce=announce)


def _engine_serve(arguments: argparse.Namespace) -> NoReturn:
    if not arguments.config.is_file():
        raise InvalidConfig(f"there is no file {arguments.config}; name the engine's settings with --config")
    # The engine becomes this process: signals, exit status and journal are its own.
    sys.stdout.flush()
    command = [sys.executable, "-m", "utdstream.engine", "--config", str(arguments.config)]
    os.execv(command[0], command)


def _add_doctor(verbs: Verbs) -> None:
    doctor = verbs.add_parser(
        "doctor",
        help="is everything here that calls need?",
        description="Look for everything calls need, and say how to provide what is missing. "
        "Exit status 1 when something is missing.",
        epilog="examples:\n  utdstream doctor\n  utdstream doctor --base-url http://192.0.2.10:8080 --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--base-url", metavar="URL", help="also look at this engine: is it there, is its clock ours?"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON, not a table")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from utdstream import _doctor

    checks = _doctor.examine(base_url=arguments.base_url)
    print(_doctor.as_json(checks) if arguments.json else _doctor.as_table(checks))
    return 1 if any(check.status == "fail" for check in checks) else 0


_VERBS: tuple[Callable[[Verbs], None], ...] = (_add_demo, _add_engine, _add_doctor)

if __name__ == "__main__":
    sys.exit(main())
