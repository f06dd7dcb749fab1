"""What the programs of a stack read: the configuration of livekit-server, mosquitto and the engine.

Owns: these files; the proxy's own is in `proxy`. Any thread. Imports the stack's settings and the engine's. Starts
nothing: that is `supervisor`.

1. No address outside this machine or its LAN is named in any of them, so none is ever contacted.
2. Nothing listens beyond loopback unless the LAN was asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from utdstream.engine.config import WEBHOOK_EVENTS, WEBHOOK_PATH
from utdstream.engine.stack import broker_files
from utdstream.engine.stack.ports import LOOPBACK, Part
from utdstream.engine.stack.private_files import private_folder, write_private, write_tables
from utdstream.engine.stack.proxy import haproxy_command, proxy_folder, put_files
from utdstream.engine.stack.settings import ENGINE_LOGIN, StackSettings
from utdstream.engine.stack.users import hand_over
from utdstream.whole_files import sync_names

_BROKER_PACKET_BYTES = 128 * 1024
"""The largest packet, before a login too; a call event has 16 KiB at most, a batch of logins 104."""
_BROKER_CONNECTIONS, _ENGINE_CONNECTIONS = 960, 16
"""Below the 1,024 descriptors that a process may have on most systems, with files of the broker's own."""
_BROKER_SAVES_EVERY_S = 60


def livekit_config(settings: StackSettings) -> dict[str, object]:
    """livekit-server's configuration (livekit 1.13.5). Its parser is strict and reads JSON as YAML."""
    ports, keys = settings.ports, settings.secrets
    node_ip = settings.media_ip
    is_ipv6 = ":" in node_ip
    rtc: dict[str, object] = {
        "udp_port": ports.livekit_udp,
        "tcp_port": ports.livekit_tcp if settings.lan else 0,
        "node_ip": node_ip,
        "use_external_ip": False,
        # Without it no client on this machine connects: "wait_pc_connection timed out" after four times 15 s.
        "enable_loopback_candidate": not settings.lan,
        # Without a STUN server of its own, livekit hands every client the names of public ones.
        "stun_servers": [f"[{node_ip}]:{ports.stun}" if is_ipv6 else f"{node_ip}:{ports.stun}"],
    }
    if settings.lan:
        rtc["ips"] = {"includes": [f"{node_ip}/{128 if is_ipv6 else 32}"]}
    else:
        rtc["interfaces"] = {"includes": ["lo"]}
        if node_ip != LOOPBACK:  # a relay stands before it: media must not look for a way past it
            rtc["use_ice_lite"] = True
    return {
        "port": ports.livekit,
        "bind_addresses": [settings.clear_host],
        "rtc": rtc,
        "turn": {"enabled": True, "udp_port": ports.stun, "bind_addresses": [settings.bind_host]},
        "room": {"auto_create": False},
        # How long a layer without a viewer is still sent: cameras rest soon after their last viewer left.
        "video": {"dynacast_pause_delay": "2s"},
        "keys": {keys.livekit_api_key: keys.livekit_api_secret},
        "webhook": {
            "api_key": keys.livekit_api_key,
            "urls": [f"http://{LOOPBACK}:{ports.engine}{WEBHOOK_PATH}"],
            "filter_params": {"include_events": list(WEBHOOK_EVENTS)},
        },
        "logging": {"level": "warn", "json": False},
    }


def mosquitto_config(settings: StackSettings, plugin: Path) -> str:
    """mosquitto's configuration (2.0): private, bounded, one login a device.

    It writes its state once a minute and at its end: written at each change, one device that changes its retained
    message is a burden for everybody. What must last is elsewhere: logins are written by the plugin at once, calls
    are in the engine's database, and a device that connects again asks the engine for them.

    No `memory_limit`. Before 2.0.22 the plugin takes the size of its file off mosquitto's count of memory at each
    save (`dynsec__config_save` frees with `mosquitto_free` what cJSON took from `malloc`): it falls below zero,
    is unsigned, and everything is refused. With 20 MB and ten new logins no device came in, and the heap's maximum
    was told as 2^64 - 56. Where the count is right (without the plugin, kill -9 and a start under 19.8 MB of 20
    work), a full broker puts out who publishes: the engine. `max_queued_bytes` bounds what a device holds there.
    """
    folder = settings.file("mqtt")
    lines = [
        "set_tcp_nodelay true",  # 0.6 ms instead of 20 ms for the slowest in a hundred
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {_BROKER_SAVES_EVERY_S}",
        "autosave_on_changes false",
        "persistent_client_expiration 1d",
        "max_queued_messages 5000",
        "max_queued_bytes 4194304",
        f"max_packet_size {_BROKER_PACKET_BYTES}",
        "allow_anonymous false",
        f"plugin {plugin}",
        f"plugin_opt_config_file {broker_files.logins_file(settings)}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
        f"listener {settings.ports.mqtt} {settings.clear_host}",
        f"max_connections {_BROKER_CONNECTIONS}",
        # mosquitto has no limit by address: who fills the listener of the devices does not keep the engine out.
        f"listener {settings.ports.mqtt_engine} {LOOPBACK}",
        f"max_connections {_ENGINE_CONNECTIONS}",
    ]
    if os.geteuid() == 0 and "mqtt" not in settings.users:
        # Started by root it would become the user "mosquitto", which may not read this folder.
        lines.insert(0, "user root")
    return "\n".join(lines) + "\n"


def engine_config(settings: StackSettings) -> dict[str, Mapping[str, object]]:
    """The engine's own configuration, as tables (`utdstream.engine.config` reads it)."""
    ports, keys = settings.ports, settings.secrets
    ca_file = settings.public.mqtt_public_ca_file
    if ca_file is None and settings.ca_file is not None:
        ca_file = _engines_ca(settings)
    return {
        "engine": {
            "host": settings.clear_host,
            "port": ports.engine,
            "database": str(settings.database),
            "token_secret": keys.token_secret,
            "log_level": settings.log_level,
            "forwarded_for": settings.tls.is_on or settings.public.forwarded_for,
            "public_url": settings.base_url,
        }
        | ({} if settings.ca_file is None else {"public_ca_file": str(_engines_ca(settings).absolute())}),
        "project": dataclasses.asdict(settings.project),
        "livekit": {
            "url": f"http://{LOOPBACK}:{ports.livekit}",
            "public_url": settings.livekit_url,
            "api_key": keys.livekit_api_key,
            "api_secret": keys.livekit_api_secret,
        },
        "mqtt": {
            "host": LOOPBACK,
            "port": ports.mqtt_engine,
            "public_host": settings.mqtt_host,
            "public_port": settings.mqtt_port,
            "public_tls": settings.mqtt_tls,
            "username": ENGINE_LOGIN,
            "password": keys.mqtt_password,
        }
        | ({} if ca_file is None else {"public_ca_file": str(ca_file.absolute())}),
        "limits": dataclasses.asdict(settings.limits),
    }


def write_configuration(settings: StackSettings, plugin: Path) -> None:
    """Writes all files of the stack. The broker's logins of an earlier run with the same keys are kept."""
    for folder in (settings.folder, settings.file("mqtt"), settings.file("logs"), settings.database.parent):
        private_folder(folder)
    write_private(settings.file("livekit.yaml"), json.dumps(livekit_config(settings), indent=1) + "\n")
    write_private(settings.file("mosquitto.conf"), mosquitto_config(settings, plugin))
    write_tables(settings.file("engine.toml"), engine_config(settings))
    _move_database(settings)
    if settings.tls.is_on:
        put_files(settings)
    if settings.ca_file is not None:
        write_private(_engines_ca(settings), settings.ca_file.read_text(encoding="ascii"))
    broker_files.mend(settings)
    owned: dict[Part, list[Path]] = {
        "livekit": [settings.file("livekit.yaml")],
        "mqtt": [settings.file("mosquitto.conf"), settings.file("mqtt")],
        "engine": [settings.file("engine.toml"), _engines_ca(settings), settings.database.parent],
        "proxy": [proxy_folder(settings)],
    }
    hand_over(settings.folder, settings.users, owned)


def commands_of(
    settings: StackSettings, *, livekit: Path, broker: Path, proxy: Path | None
) -> dict[Part, list[str]]:
    """The command of each part, with these files; the engine runs with this Python."""
    engine = [sys.executable, "-u", "-m", "utdstream.engine", "--config", str(settings.file("engine.toml"))]
    commands: dict[Part, list[str]] = {
        "livekit": [str(livekit), "--config", str(settings.file("livekit.yaml"))],
        "mqtt": [str(broker), "-c", str(settings.file("mosquitto.conf"))],
        "engine": engine,
    }
    return commands if proxy is None else {**commands, "proxy": haproxy_command(proxy, settings)}


def concerned_by(before: StackSettings, after: StackSettings) -> set[Part]:
    """The parts to which another project, or other secrets, must be told: these read them when they start."""
    old, new = before.secrets, after.secrets
    concerned: set[Part] = set()
    if (old, before.project) != (new, after.project):
        concerned.add("engine")
    if old.mqtt_password != new.mqtt_password:
        concerned.add("mqtt")
    if (old.livekit_api_key, old.livekit_api_secret) != (new.livekit_api_key, new.livekit_api_secret):
        concerned.add("livekit")
    return concerned


def _engines_ca(settings: StackSettings) -> Path:
    """The engine's copy of the authority: it may have a user of its own."""
    return settings.file("engine-ca.pem")


def _move_database(settings: StackSettings) -> None:
    """Takes the database along when the engine has a user of its own now, or has none any more."""
    places = {settings.file("engine.db"), settings.file("engine") / "engine.db"}
    for old in places - {settings.database}:
        if old.exists() and not settings.database.exists():
            for end in ("-wal", "-shm", ".good", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{old}{end}").replace(f"{settings.database}{end}")
            sync_names(settings.database.parent)
