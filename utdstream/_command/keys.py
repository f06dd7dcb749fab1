"""`utdstream engine key add|list|revoke`, the app keys of an engine, asked over REST; and `engine rotate`.

Owns: what these actions ask and print. Imports the stack's settings late, for the data folder of an
`engine up` on this machine. Main thread.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utdstream._command.options import add_ca_file
from utdstream._rest.http import Http, check_base_url
from utdstream._threads.deadline import Deadline
from utdstream._wire import codec, routes
from utdstream.errors import InvalidConfig, NotFound
from utdstream.secret_file import read_secret

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

ANSWER_S = 10.0
_PAGE = 100
_SECRETS = ("token_secret", "app_key", "app_secret", "mqtt_password", "livekit_api_secret")
WHICH = (
    "The engine is the one of `engine up` on this machine, by its data folder, or the one of --base-url, --app-id "
    "and --app-secret-file."
)


@dataclass(frozen=True, slots=True)
class Site:
    """Which engine is asked, and with which secret."""

    base_url: str
    app_id: str
    app_secret: str = field(repr=False)
    ca_file: Path | None = None


def add_actions(actions: Actions) -> None:
    """Adds `key`, its actions and `rotate` to those of `utdstream engine`."""
    key = actions.add_parser(
        "key",
        help="the app keys of devices",
        description="The app keys of devices: each is for one identity, or for those that begin alike. "
        + WHICH,
        epilog="examples:\n  utdstream engine key add door --display-name 'Front door'\n"
        "  utdstream engine key list\n  utdstream engine key revoke key_1f0c5a7be2d94c36\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = key.add_subparsers(title="actions", metavar="ACTION", required=True)

    add = verbs.add_parser(
        "add",
        help="make a key",
        description="Make a key and print it: it is shown this once. " + WHICH,
        epilog="examples:\n  utdstream engine key add door --display-name 'Front door' --out door.key\n"
        "  utdstream engine key add 'kiosk-*' --room lobby\n"
        "  utdstream engine key add anna --host --room 'anna-*' --json\n"
        "  utdstream engine key add house --allow-break-in door\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("identity", metavar="IDENTITY", help="who it is for; kiosk-* is for all that begin so")
    add.add_argument("--name", metavar="TEXT", help="what you call this key (default: the identity)")
    add.add_argument("--display-name", metavar="TEXT", help="what others are shown, whatever the device says")
    add_rights(add)
    add.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="write the key there, for you alone to read, instead of printing it",
    )
    add.set_defaults(run=_add)

    listing = verbs.add_parser(
        "list",
        help="show all keys",
        description="Show all keys, newest first, but never a key itself. " + WHICH,
        epilog="examples:\n  utdstream engine key list\n  utdstream engine key list --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listing.set_defaults(run=_list)

    revoke = verbs.add_parser(
        "revoke",
        help="end a key",
        description="End a key and all that was got with it; a device with it is turned away at once. "
        + WHICH,
        epilog="examples:\n  utdstream engine key revoke key_1f0c5a7be2d94c36\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    revoke.add_argument("key_id", metavar="KEY_ID", help="its id, as `key list` shows it")
    revoke.set_defaults(run=_revoke)

    rotate = actions.add_parser(
        "rotate",
        help="make one secret of `engine up` anew",
        description="Make one secret of `engine up` anew. A running stack takes it within a second and starts the "
        "programs again that know it. token_secret: signs all devices out, which sign in again by themselves. "
        "app_key: the open key, devices that have it need the new one. app_secret: your servers need the new one. "
        "mqtt_password: the broker passwords of the engine and of all devices, which fetch theirs by themselves. "
        "livekit_api_secret: calls and rooms are silent for some seconds, until they are joined again.",
        epilog="examples:\n  utdstream engine rotate token_secret\n"
        "  sudo utdstream engine rotate app_secret --data /var/lib/utd-engine\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rotate.add_argument(
        "name",
        metavar="NAME",
        choices=_SECRETS,
        help=f"one of {', '.join(_SECRETS)}",
    )
    rotate.add_argument("--data", metavar="DIR", type=Path, help="data folder of `engine up`")
    rotate.add_argument("--json", action="store_true", help="print JSON")
    rotate.set_defaults(run=_rotate)

    for verb in (add, listing, revoke):
        add_site(verb)
        verb.add_argument("--json", action="store_true", help="print JSON")


def add_rights(verb: argparse.ArgumentParser) -> None:
    """Adds what a new key may do."""
    verb.add_argument("--host", action="store_true", help="it may make rooms and host them")
    verb.add_argument(
        "--room", metavar="NAME", action="append", help="a room it enters; show-* too (default: every room)"
    )
    verb.add_argument(
        "--allow-break-in",
        metavar="CALLER",
        action="append",
        help="a caller that rings at IDENTITY also while it talks; door-* too (default: nobody)",
    )


def add_site(verb: argparse.ArgumentParser) -> None:
    """Adds which engine is asked, and with which secret (`site`)."""
    verb.add_argument("--data", metavar="DIR", type=Path, help="data folder of `engine up`")
    verb.add_argument("--base-url", metavar="URL", help="another engine")
    verb.add_argument("--app-id", metavar="ID", help="its project")
    verb.add_argument("--app-secret-file", metavar="FILE", type=Path, help="holds its app secret alone")
    add_ca_file(verb)


def _add(arguments: argparse.Namespace) -> int:
    wanted = {
        "identity": arguments.identity,
        "name": arguments.name,
        "may_host": arguments.host,
        "rooms": arguments.room,
        "display_name": arguments.display_name,
        "allow_break_in": arguments.allow_break_in,
    }
    if arguments.out is not None and not os.access(arguments.out.absolute().parent, os.W_OK):
        raise InvalidConfig(f"--out: {arguments.out} cannot be written; name a file in a folder of yours")
    made = dict(ask(site(arguments), "POST", routes.KEYS, wanted))
    if arguments.out is not None:
        from utdstream.engine.stack.private_files import write_private

        try:
            write_private(arguments.out, f"{made.pop('app_key')}\n")
        except InvalidConfig:  # a full disk: a key that nobody has is of no use
            ask(site(arguments), "DELETE", routes.key(str(made.get("key_id"))))
            raise
        made["app_key_file"] = str(arguments.out)
    if arguments.json:
        print(json.dumps(made))
    else:
        print(made.get("app_key") or f"the key of {made.get('identity')} is in {arguments.out}")
    return 0


def _keys(engine: Site) -> list[Mapping[str, object]]:
    """All keys of this engine, those in use and the revoked ones."""
    rows: list[Mapping[str, object]] = []
    while True:
        page = len(rows) // _PAGE + 1
        found = ask(engine, "GET", f"{routes.KEYS}?page={page}&per_page={_PAGE}")["data"]
        rows += found if isinstance(found, list) else []
        if not isinstance(found, list) or len(found) < _PAGE:
            return rows


def _list(arguments: argparse.Namespace) -> int:
    rows = _keys(site(arguments))
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        state = f"revoked {row['revoked_at']}" if row["revoked_at"] else "in use"
        may = f"{'hosts' if row['may_host'] else 'enters'} {' '.join(map(str, _listed(row['rooms'])))}"
        breaks_in = " ".join(map(str, _listed(row.get("allow_break_in"))))
        rung = f"  rung while talking by {breaks_in}" if breaks_in else ""
        shown = (
            f"  shown as {json.dumps(row['display_name'], ensure_ascii=False)}" if row["display_name"] else ""
        )
        print(f"{row['key_id']}  {row['identity']}  {row['name']}{shown}  {may}{rung}  {state}")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    engine = site(arguments)
    try:
        ended = ask(engine, "DELETE", routes.key(arguments.key_id))
    except NotFound as error:
        ids = [
            str(row["key_id"]) for row in _keys(engine) if arguments.key_id in (row["identity"], row["name"])
        ]
        if not ids:
            raise
        raise InvalidConfig(f"{arguments.key_id} is no id; its keys are {', '.join(ids)}") from error
    print(
        json.dumps(ended)
        if arguments.json
        else f"{ended.get('key_id')} of {ended.get('identity')} is revoked"
    )
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    from utdstream.engine.stack import data_folder

    folder = (arguments.data or data_folder.default_data_folder()).expanduser().absolute()
    data_folder.rotate(folder, arguments.name)
    file = str(folder / data_folder.NAME)
    facts = {"rotated": arguments.name, "keys_file": file}
    print(json.dumps(facts) if arguments.json else f"{arguments.name} is new; it stands in {file}")
    return 0


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def site(arguments: argparse.Namespace) -> Site:
    """Returns the engine that the options name. Raises: InvalidConfig."""
    if arguments.base_url is None:
        if arguments.app_id is not None or arguments.app_secret_file is not None:
            raise InvalidConfig("give --base-url with --app-id and --app-secret-file, or none of the three")
        return _site_here(arguments.data)
    if arguments.app_id is None or arguments.app_secret_file is None:
        raise InvalidConfig("--base-url needs --app-id and --app-secret-file")
    secret = read_secret(arguments.app_secret_file, "the app secret")
    if not secret.isascii():
        raise InvalidConfig(f"{arguments.app_secret_file} must hold the app secret alone")
    return Site(check_base_url("--base-url", arguments.base_url), arguments.app_id, secret, arguments.ca_file)


def _site_here(data: Path | None) -> Site:
    from utdstream import settings
    from utdstream.engine.stack import data_folder
    from utdstream.engine.stack.ports import LOOPBACK
    from utdstream.engine.stack.settings import StackFile

    file = (data or data_folder.default_data_folder()).expanduser() / data_folder.NAME
    if not file.is_file():
        raise InvalidConfig(
            f"there is no {file}; run `utdstream engine up` first, or give --data or --base-url"
        )
    kept = settings.read(file, StackFile)
    if kept.ports.engine is None:
        raise InvalidConfig(f"{file} names no port of the engine; is `utdstream engine up` running?")
    return Site(f"http://{LOOPBACK}:{kept.ports.engine}", kept.project.app_id, kept.project.app_secret)


def ask(site: Site, method: str, path: str, body: Mapping[str, object] | None = None) -> codec.JsonObject:
    """Returns what this engine answers. Blocks: to ANSWER_S. Raises: UTDStreamException."""
    http = Http(site.ca_file)
    try:
        return http.request(
            method,
            site.base_url + path,
            headers={
                "Content-Type": "application/json",
                routes.HEADER_APP_ID: site.app_id,
                routes.HEADER_APP_SECRET: site.app_secret,
            },
            body=body,
            deadline=Deadline.after(ANSWER_S, f"{method} {path}"),
        )
    finally:
        http.close()
