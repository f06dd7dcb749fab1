"""`utdstream engine up|serve|install|key|pair|rotate`: the arguments of the self-hosted engine's actions.

Owns: what these actions take and print (keys and secrets are in `keys`, codes in `pairing`). The
engine is imported when an action runs. Main thread.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from utdstream._command import keys, pairing
from utdstream.errors import InvalidConfig
from utdstream.one_line import OneLineFormatter

if TYPE_CHECKING:
    from utdstream.engine.stack.settings import TlsSection

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def add_verb(verbs: Verbs) -> None:
    """Adds `engine` with its actions."""
    engine = verbs.add_parser(
        "engine",
        help="the self-hosted engine",
        description="The self-hosted engine, with or without the servers around it.",
        epilog="examples:\n  utdstream engine up\n  utdstream engine serve --config engine.toml\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = engine.add_subparsers(title="actions", metavar="ACTION", required=True)

    up = actions.add_parser(
        "up",
        help="engine, media server and broker, until Ctrl-C",
        description="Run engine, livekit-server and mosquitto until Ctrl-C, with --tls HAProxy too, and start "
        "again what dies. "
        "The first run makes a data folder with the project's keys; later runs keep them. Under systemd "
        "(Type=notify) it says when all is ready, what died, and that it is alive.",
        epilog="examples:\n  utdstream engine up\n  utdstream engine up --lan --data /srv/utdstream\n"
        "  utdstream engine up --lan --tls\n"
        "  utdstream engine up --lan --address engine.example.com --tls-cert chain.pem --tls-key key.pem\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.add_argument("--config", metavar="FILE", type=Path, help="settings that win over the kept ones (TOML)")
    up.add_argument("--data", metavar="DIR", type=Path, help="data folder (default ~/.local/share/utdstream)")
    up.add_argument("--lan", action="store_true", help="serve this machine's network, not this machine alone")
    up.add_argument(
        "--address",
        metavar="HOST",
        help="with --lan: this machine's address or its name (default: found); an IPv6 one needs --tls",
    )
    up.add_argument(
        "--tls",
        action="store_true",
        help="encrypt everything, with a certificate of an authority that is made here",
    )
    up.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="encrypt with this certificate and chain (PEM)"
    )
    up.add_argument("--tls-key", metavar="FILE", type=Path, help="its key (PEM)")
    up.add_argument("--json", action="store_true", help="say where everything is as one line of JSON")
    up.set_defaults(run=_up)

    serve = actions.add_parser(
        "serve",
        help="the engine alone",
        description="Run the engine alone, beside a livekit-server and a broker of your own.",
        epilog="examples:\n  utdstream engine serve --config /etc/utdstream/engine.toml\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the engine's settings (TOML)"
    )
    serve.set_defaults(run=_serve)

    keys.add_actions(actions)
    pairing.add_action(actions)

    install = actions.add_parser(
        "install",
        help="the media server that `engine up` needs",
        description="Put livekit-server where `engine up` finds it: fetched from its project's release and "
        "checked against the checksum written in this version, or built with Go where the release cannot be "
        "reached. Says where it is; a second run finds it there. The broker, mosquitto, comes from the "
        "system's packages.",
        epilog="examples:\n  utdstream engine install\n"
        "  utdstream engine install --from livekit.tar.gz     an archive fetched on another machine\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    install.add_argument(
        "--from", dest="archive", metavar="FILE", type=Path, help="the release's archive, fetched already"
    )
    install.add_argument("--json", action="store_true", help="say where it is as one line of JSON")
    install.set_defaults(run=_install)


def _install(arguments: argparse.Namespace) -> int:
    from utdstream.engine.stack import binaries, install

    try:
        with contextlib.redirect_stdout(sys.stderr):  # progress; stdout has the answer alone
            program = install.livekit_server(arguments.archive)
            version = binaries.livekit_version(program.path)
    except install.InstallFailed as error:
        print(f"utdstream: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"path": str(program.path), "source": program.source, "version": version}))
    else:
        print(f"livekit-server: {install.describe(program)}")
    return 0


def need_packages() -> None:
    """Raises: InvalidConfig, with what to install, where an import would end in a traceback."""
    from utdstream.engine import packages

    packages.require()


def _up(arguments: argparse.Namespace) -> int:
    need_packages()
    from utdstream.engine.stack import up

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    def announce(facts: dict[str, object]) -> None:
        if arguments.json:
            print(json.dumps(facts), flush=True)
            return
        encrypted = ", TLS" if facts["mqtt_tls"] else ""
        print(
            "The stack is up; Ctrl-C stops it.\n"
            f"  engine   {facts['base_url']}\n"
            f"  media    {facts['livekit_url']}\n"
            f"  broker   {facts['mqtt_host']}:{facts['mqtt_port']}{encrypted}\n"
            f"  app id   {facts['app_id']}\n"
            f"  keys     {facts['keys_file']}\n"
            f"  logs     {facts['logs']}",
            flush=True,
        )
        put_aside = facts["put_aside"]
        for file in put_aside if isinstance(put_aside, list) else ():
            print(f"  damaged  {file}   was put aside; delete it when you have looked at it", flush=True)
        if facts["ca_file"] is not None:
            print(f"  ca_file  {facts['ca_file']}   every device gets a copy", flush=True)
        if facts["tls_fingerprint"] is not None:
            print(f"  SHA-256  {facts['tls_fingerprint']}", flush=True)

    return up.run(
        config=arguments.config,
        data=arguments.data,
        lan=arguments.lan,
        address=arguments.address,
        tls=_tls(arguments),
        announce=announce,
    )


def _tls(arguments: argparse.Namespace) -> TlsSection | None:
    """What the options say of TLS; None: nothing."""
    from utdstream.engine.stack.settings import TlsSection

    given = [None if file is None else file.absolute() for file in (arguments.tls_cert, arguments.tls_key)]
    if not arguments.tls and given == [None, None]:
        return None
    return TlsSection(enabled=True, certificate=given[0], key=given[1])


def _serve(arguments: argparse.Namespace) -> NoReturn:
    if not arguments.config.is_file():
        raise InvalidConfig(f"there is no file {arguments.config}; name the engine's settings with --config")
    # The engine becomes this process: signals, exit status and journal are its own.
    sys.stdout.flush()
    command = [sys.executable, "-m", "utdstream.engine", "--config", str(arguments.config)]
    os.execv(command[0], command)
