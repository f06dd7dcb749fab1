"""The `utdstream` command: verbs, their arguments, exit statuses.

Owns: `main`. Everything a verb needs is imported when the verb runs. Exit status: 0 done, 1 one sentence on
stderr says why not, 2 wrong usage, 3 the call was not answered, 4 it was cut off, 130 Ctrl-C.

A new verb is one function like `_add_doctor`, listed in `_VERBS`; what it does lives in a module of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utdstream import __version__
from utdstream._command import engine, pairing
from utdstream._command.options import add_ca_file, in_options
from utdstream.errors import UTDStreamException

if TYPE_CHECKING:
    from utdstream._command.phone import Phone

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLES = """\
examples:
  utdstream demo                       a door process calls a house process, here and now
  utdstream call house --identity door --seconds 10
  utdstream answer --identity house --auto
  utdstream doctor                     is everything here that calls need?
  utdstream engine up                  engine, media server and broker for this machine
  utdstream engine up --lan            the same for all devices on this network
  utdstream engine key add door        an app key for one device
  utdstream engine pair --identity door    the same by a code: nothing is copied
  utdstream engine install             the media server that `engine up` needs
  utdstream engine serve --config FILE the engine alone, beside your own livekit-server
"""
_KEY = "The app key comes from UTD_APP_KEY or from --app-key-file, never from the command line."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing more to say, and no reader to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UTDStreamException, OSError) as error:
        print(f"utdstream: {in_options(error)}", file=sys.stderr)
        return 1
    except ImportError as error:
        if error.name != "msgspec":
            raise
        print(f"utdstream: {error}", file=sys.stderr)  # the base package is here without its extra `engine`
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
        "--seconds", metavar="N", type=_talk_seconds, default=10.0, help="seconds of talk (default 10)"
    )
    demo.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("demo-out"),
        help="folder of the results (default demo-out)",
    )
    demo.add_argument("--json", action="store_true", help="print the report, and the progress on stderr")
    demo.set_defaults(run=_demo)


def _talk_seconds(text: str) -> float:
    seconds = float(text)
    if not 2 <= seconds <= 300:
        raise argparse.ArgumentTypeError(f"must be 2 to 300, not {text}")
    return seconds


def _demo(arguments: argparse.Namespace) -> int:
    engine.need_packages()
    from utdstream._command.demo import parent

    return parent.run(seconds=arguments.seconds, out=arguments.out, as_json=arguments.json)


def _add_call(verbs: Verbs) -> None:
    call = verbs.add_parser(
        "call",
        help="make a call, for scripts",
        description="Call an identity, talk, hang up. Exit status: 0 answered, 1 failed, 3 not answered "
        "(rejected, busy, missed, ended), 4 cut off (it ended, and neither side hung up: stderr says why), 130 "
        "Ctrl-C. " + _KEY,
        epilog="examples:\n"
        "  utdstream call house --identity door --seconds 10\n"
        "  utdstream call house --identity door --video --snapshot house.png --record house.wav --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    call.add_argument("callee", metavar="CALLEE", help="the identity to call")
    call.add_argument("--video", action="store_true", help="a video call (default: sound alone)")
    call.add_argument(
        "--patience",
        metavar="N",
        type=_seconds,
        default=40.0,
        help="seconds to wait for an answer (default 40)",
    )
    _add_phone(call)
    call.set_defaults(run=_call)


def _add_answer(verbs: Verbs) -> None:
    answer = verbs.add_parser(
        "answer",
        help="wait for calls and answer them, for scripts",
        description="Wait for calls and answer them, until Ctrl-C or for one call. Exit status with --once: "
        "0 answered, 1 failed, 3 not answered, 4 cut off; 130 Ctrl-C. " + _KEY,
        epilog="examples:\n"
        "  utdstream answer --identity house --auto\n"
        "  utdstream answer --identity house --once --auto --ring 2 --record door.wav --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how = answer.add_mutually_exclusive_group()
    for flag, word, meaning in (
        ("--auto", "accept", "accept every call (default: ask at the terminal)"),
        ("--reject", "reject", "reject every call"),
        ("--busy", "busy", "say busy to every call"),
    ):
        how.add_argument(flag, dest="how", action="store_const", const=word, default="ask", help=meaning)
    answer.add_argument("--once", action="store_true", help="end after the first call")
    answer.add_argument(
        "--ring", metavar="N", type=_seconds, default=1.0, help="with --auto: ring this long (default 1 s)"
    )
    answer.add_argument("--wait", metavar="N", type=_seconds, help="give up when no call comes for N seconds")
    _add_phone(answer)
    answer.set_defaults(run=_answer)


def _add_phone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--identity", metavar="ME", required=True, help="the identity of this phone")
    parser.add_argument("--name", metavar="TEXT", help="what the other side shows")
    parser.add_argument("--base-url", metavar="URL", help="the engine (default: UTD_BASE_URL)")
    add_ca_file(parser)
    parser.add_argument("--app-id", metavar="ID", help="the project (default: UTD_APP_ID)")
    parser.add_argument(
        "--app-key-file", metavar="FILE", type=Path, help="holds the app key (default: UTD_APP_KEY)"
    )
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="hang up after N seconds of talk")
    parser.add_argument(
        "--snapshot", metavar="FILE", type=Path, help="keep a picture of the other side (PNG)"
    )
    parser.add_argument("--record", metavar="FILE", type=Path, help="keep the sound of the other side (WAV)")
    parser.add_argument(
        "--microphone", metavar="WHAT", default="tone", help="a WAV file, tone or none (default tone)"
    )
    parser.add_argument("--camera", choices=("pattern", "none"), default="pattern", help="default pattern")
    parser.add_argument("--json", action="store_true", help="one JSON object a call; states go to stderr")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 86400, not {text}")
    return seconds


def _phone(arguments: argparse.Namespace) -> Phone:
    from utdstream._command import phone

    base_url, app_id, app_key = phone.credentials(
        arguments.base_url, arguments.app_id, arguments.app_key_file, os.environ
    )
    return phone.Phone(
        identity=arguments.identity,
        base_url=base_url,
        ca_file=arguments.ca_file,
        app_id=app_id,
        app_key=app_key,
        name=arguments.name,
        microphone=arguments.microphone,
        camera=arguments.camera,
        record=arguments.record,
        snapshot=arguments.snapshot,
        seconds=arguments.seconds,
        as_json=arguments.json,
    )


def _call(arguments: argparse.Namespace) -> int:
    from utdstream._command import phone

    return phone.call(
        _phone(arguments), arguments.callee, video=arguments.video, patience_s=arguments.patience
    )


def _answer(arguments: argparse.Namespace) -> int:
    from utdstream._command import phone

    return phone.answer(
        _phone(arguments),
        how=arguments.how,
        once=arguments.once,
        ring_s=arguments.ring,
        wait_s=arguments.wait,
    )


def _add_doctor(verbs: Verbs) -> None:
    doctor = verbs.add_parser(
        "doctor",
        help="is everything here that calls need?",
        description="Look for everything that calls need, and name the remedy for what is missing. "
        "Exit status 1 when a check fails.",
        epilog="examples:\n  utdstream doctor\n  utdstream doctor --base-url http://192.0.2.10:8080 --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--base-url", metavar="URL", help="also check this engine: does it answer, is its clock the same?"
    )
    add_ca_file(doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON, not a table")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from utdstream._command import doctor
    from utdstream.checks import as_json, as_table, passed

    checks = doctor.examine(base_url=arguments.base_url, ca_file=arguments.ca_file)
    print(as_json(checks) if arguments.json else as_table(checks))
    return 0 if passed(checks) else 1


_VERBS: tuple[Callable[[Verbs], None], ...] = (
    _add_demo,
    _add_call,
    _add_answer,
    engine.add_verb,
    pairing.add_verb,
    _add_doctor,
)

if __name__ == "__main__":
    sys.exit(main())
