"""`utdstream engine pair`, which shows a code and waits for a device, and `utdstream pair`, which uses one.

Owns: what the two verbs ask and print. Main thread; SIGINT, SIGTERM and SIGHUP withdraw a code. Imports
segno late.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from utdstream._command import keys
from utdstream._wire import codec, routes
from utdstream.errors import EngineUnreachable, UTDStreamException
from utdstream.one_line import one_line

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

PAIRED, NOT_PAIRED, STOPPED = 0, 1, 130
LOOK_S, PATIENCE_S = 1.0, 30.0
MINUTES = 10
_OVER = {
    "expired": "the code ran out: nobody paired",
    "withdrawn": "the code was withdrawn: nobody paired",
    "locked": "the code was ended by wrong attempts: somebody else knows this address; make another",
}
_KEY_FILE, _CA_FILE = "{}.key", "{}-ca.pem"


class _Withdraw(BaseException):
    """A signal came."""


def add_action(actions: Actions) -> None:
    """Adds `pair` to the actions of `utdstream engine`."""
    pair = actions.add_parser(
        "pair",
        help="show a code with which one device gets its key",
        description="Show a QR code and a code to type, for one device, and wait until it has paired: it gets "
        "an app key of its own and trusts this engine from then on. Ctrl-C withdraws the code. Exit status: "
        "0 paired, 1 not, 130 Ctrl-C. " + keys.WHICH,
        epilog="examples:\n  utdstream engine pair --identity kitchen --name Kitchen\n"
        "  utdstream engine pair --identity house --name House --allow-break-in door --minutes 30\n"
        "  sudo utdstream engine pair --identity door --name 'Front door' --data /var/lib/utd-engine\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pair.add_argument("--identity", metavar="IDENTITY", required=True, help="who the device is")
    pair.add_argument(
        "--name", metavar="TEXT", help="what you call it, and what others are shown (default: the identity)"
    )
    keys.add_rights(pair)
    pair.add_argument(
        "--minutes",
        metavar="N",
        type=_minutes,
        default=MINUTES,
        help=f"the code is good for N minutes, at most 60 (default {MINUTES})",
    )
    keys.add_site(pair)
    pair.add_argument(
        "--json", action="store_true", help="print JSON: a line with the code, and one with what became of it"
    )
    pair.set_defaults(run=_offer)


def add_verb(verbs: Actions) -> None:
    """Adds `pair` to the verbs of `utdstream`."""
    pair = verbs.add_parser(
        "pair",
        help="get a key for this machine, with a code of `engine pair`",
        description="Pair this machine with the engine that showed a code: writes the key (for you alone to "
        "read), the engine's own authority, and a settings file that names them. The key is never shown.",
        epilog="examples:\n  utdstream pair 'https://192.168.1.10:8443/pair#7BH6-J0WX-DYAK-RKN8-390T'\n"
        "  utdstream pair 7BH6-J0WX-DYAK-RKN8-390T --base-url https://192.168.1.10:8443 --write house.toml\n"
        "  utdstream pair      asks for the code, which no list of processes then shows\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pair.add_argument("code", metavar="CODE-OR-URL", nargs="?", help="the code, or the address with it")
    pair.add_argument("--base-url", metavar="URL", help="the engine, for a code alone")
    pair.add_argument(
        "--write",
        metavar="FILE",
        type=Path,
        default=Path("utdstream.toml"),
        help="the settings file; key and authority go beside it (default utdstream.toml)",
    )
    pair.add_argument("--json", action="store_true", help="print JSON")
    pair.set_defaults(run=_pair)


def _minutes(text: str) -> int:
    minutes = int(text)
    if not 1 <= minutes <= 60:
        raise argparse.ArgumentTypeError(f"must be 1 to 60, not {text}")
    return minutes


# --- showing a code


def _offer(arguments: argparse.Namespace) -> int:
    site = keys.site(arguments)
    wanted = {
        "identity": arguments.identity,
        "name": arguments.name,
        "display_name": arguments.name,
        "may_host": arguments.host,
        "rooms": arguments.room,
        "allow_break_in": arguments.allow_break_in,
        "expires_in": arguments.minutes * 60,
    }
    with _stopped_by_signals():
        made = keys.ask(site, "POST", routes.PAIRINGS, wanted)
        path = routes.pairing(str(made["pairing_id"]))
        try:
            print(json.dumps(made) if arguments.json else _shown(made, arguments.minutes), flush=True)
            row = _outcome(site, path, time.monotonic() + arguments.minutes * 60)
        except _Withdraw:
            row = _withdrawn(site, path)
        except BaseException:
            _withdrawn(site, path)
            raise
    _say(row, as_json=arguments.json)
    if row["state"] == "used":
        return PAIRED
    return STOPPED if row["state"] == "withdrawn" else NOT_PAIRED


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # one is enough: what is withdrawn is withdrawn in peace
        raise _Withdraw

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: handler for each in wanted if (handler := signal.getsignal(each)) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    except _Withdraw:
        raise KeyboardInterrupt from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _outcome(site: keys.Site, path: str, until_s: float) -> codec.JsonObject:
    """What became of the code. Blocks: until it is over, also across a restart of the engine."""
    while True:
        try:
            row = keys.ask(site, "GET", path)
            if row["state"] != "open":
                return row
        except EngineUnreachable:
            if time.monotonic() > until_s + PATIENCE_S:
                raise
        time.sleep(LOOK_S)


def _withdrawn(site: keys.Site, path: str) -> codec.JsonObject:
    """What became of the code, which is of no use any more. Raises: UTDStreamException."""
    try:
        return keys.ask(site, "DELETE", path)
    except UTDStreamException as error:
        raise EngineUnreachable(f"the code was not withdrawn, it runs out by itself: {error}") from error


def _shown(made: Mapping[str, object], minutes: int) -> str:
    url, code = str(made["url"]), str(made["code"])
    base_url = url.partition("#")[0].rpartition("/")[0]
    return (
        f"One device may pair as {one_line(str(made['identity']))} within {minutes} minutes.\n\n{_picture(url)}\n"
        f"  on the device   utd-device pair '{url}'\n"
        f"  on a computer   utdstream pair '{url}'\n"
        f"  or type         {code}\n"
        f"  at the engine   {base_url}\n\n"
        "Waiting for it; Ctrl-C withdraws the code."
    )


def _picture(url: str) -> str:
    """The QR code in half blocks; empty for a terminal that has no such signs."""
    import segno

    drawn = io.StringIO()
    segno.make_qr(url, error="l").terminal(drawn, border=2, compact=True)
    try:
        drawn.getvalue().encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ""
    return drawn.getvalue()


def _say(row: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
    elif row["state"] == "used":
        device = one_line(str(row["device_name"] or "a device"))
        who = f"{one_line(str(row['name']))} ({one_line(str(row['identity']))})"
        print(f"Paired: {who} is {device} at {row['address']}, by {row['key_id']}.")
    else:
        print(f"utdstream: {_OVER[str(row['state'])]}", file=sys.stderr)


# --- using one


def _pair(arguments: argparse.Namespace) -> int:
    from utdstream.pairing import pair

    file: Path = arguments.write
    done = pair(
        arguments.code or _asked(),
        base_url=arguments.base_url,
        app_key_file=file.with_name(_KEY_FILE.format(file.stem)),
        ca_file=file.with_name(_CA_FILE.format(file.stem)),
        settings_file=file,
    )
    command = ["utdstream", "answer", "--identity", done.identity, "--base-url", done.base_url]
    command += ["--app-id", done.app_id, "--app-key-file", str(done.app_key_file)]
    command += [] if done.ca_file is None else ["--ca-file", str(done.ca_file)]
    facts = {**done.facts(), "settings_file": str(file.absolute())}
    if arguments.json:
        print(json.dumps(facts))
    else:
        print(f"Paired as {one_line(done.identity)}; {file} says how. It answers calls with:")
        print(f"  {shlex.join(command)}")
    return PAIRED


def _asked() -> str:
    if sys.stdin.isatty():
        print("The code, or the address with it: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()
