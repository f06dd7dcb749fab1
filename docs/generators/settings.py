"""Every setting with its default: of the engine, of the stack, of the machine, of a client."""

from __future__ import annotations

import dataclasses
import typing

from device import config as device_config
from device import examples as device_examples
from generators.markdown import table
from utdstream.config import ClientConfig
from utdstream.engine import config
from utdstream.engine.stack import data_folder, ports, settings

_MEANINGS = {
    "engine.database": "path of the SQLite file; made when it is not there",
    "engine.token_secret": "signs user tokens, derives broker passwords; a new one signs every device out",
    "engine.host": "address to listen on",
    "engine.port": "port to listen on",
    "engine.log_level": "debug, info, warning or error",
    "project.app_id": "the project's public number",
    "project.app_key": "the publishable key: it mints tokens and nothing else",
    "project.app_secret": "the key of your servers: it may do everything, in anybody's name",
    "project.name": "shown by `GET /project`",
    "project.call_ring_timeout_s": "a call that is not answered for this long is missed",
    "project.max_call_duration_s": "a call is ended after this long",
    "project.calls_enabled": "false: calls are refused (`feature_disabled`)",
    "project.video_enabled": "false: video calls are refused (`feature_disabled`)",
    "project.max_concurrent_rooms": "live streams and audio rooms at once (`room_limit_reached`)",
    "project.max_participants_per_room": "people in one audio room; a live stream has no limit",
    "livekit.api_key": "name of livekit-server's key",
    "livekit.api_secret": "livekit-server's key; signs media tokens and checks webhooks",
    "livekit.url": "where the engine reaches livekit-server (http or https)",
    "livekit.public_url": "where devices reach it (ws or wss)",
    "mqtt.password": "of the engine's own broker login",
    "mqtt.username": "the engine's own broker login, an administrator of the dynamic-security plugin",
    "mqtt.host": "where the engine reaches the broker",
    "mqtt.port": "where the engine reaches the broker",
    "mqtt.public_host": "where devices reach the broker",
    "mqtt.public_port": "where devices reach the broker",
    "limits.enabled": "false: no rate limits",
    "limits.requests_per_minute": "requests of one identity (a server with the secret: fifty times as many)",
    "limits.mints_per_minute": "mints of one identity on one device",
    "limits.takeover_cooldown_s": "so long no other device gets the session of somebody in a room",
    "stack.data": "the data folder, like `--data`",
    "stack.lan": "true: serve the network, like `--lan`",
    "stack.address": "this machine's address on the network (default: found)",
    "stack.log_level": "of the engine: debug, info, warning or error",
    "ports.engine": "the engine, TCP",
    "ports.livekit": "livekit-server's signalling, TCP",
    "ports.livekit_udp": "media, UDP",
    "ports.livekit_tcp": "media where UDP is blocked, TCP, with `--lan` only",
    "ports.stun": "STUN, UDP: so that no address outside is ever asked",
    "ports.mqtt": "the broker, TCP",
}
"""What each key of the engine's settings is for."""


def _settings(sections: dict[str, type]) -> str:
    parts: list[str] = []
    for section, kind in sections.items():
        rows = []
        for item in dataclasses.fields(kind):
            if item.default is not dataclasses.MISSING:
                default = "any free port" if item.default is None else f"`{item.default!r}`"
            else:
                default = "random" if item.default_factory is not dataclasses.MISSING else "**needed**"
            meaning = _MEANINGS[f"{section}.{item.name}"]
            rows.append((f"`{item.name}`", str(item.type), default, meaning))
        parts.append(f"### `[{section}]`\n\n" + table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def engine_settings() -> str:
    """The file of `utdstream engine serve`."""
    return _settings(
        {
            "engine": config.EngineSection,
            "project": config.ProjectSection,
            "livekit": config.LiveKitSection,
            "mqtt": config.MqttSection,
            "limits": config.LimitsSection,
        }
    )


def stack_settings() -> str:
    """The file of `utdstream engine up`."""
    rows = [
        (f"`{key}`", kind.__name__, _MEANINGS[f"stack.{key}"])
        for key, kind in data_folder._STACK_KEYS.items()
    ]
    port_rows = [
        (f"`{item.name}`", f"`{ports.DEFAULT_PORTS[item.name]}`", _MEANINGS[f"ports.{item.name}"])
        for item in dataclasses.fields(settings.Ports)
    ]
    return (
        "### `[stack]`\n\n"
        + table(("key", "type", "meaning"), rows)
        + "\n### `[ports]`\n\n"
        + table(("key", "default", "meaning"), port_rows)
        + "\n"
        + _settings({"project": settings.Project, "limits": settings.Limits})
    )


def client_config() -> str:
    """Every field of `ClientConfig` with its default."""
    rows = [(f"`{item.name}`", f"{item.default:g}") for item in dataclasses.fields(ClientConfig)]
    return table(("field", "default, seconds"), rows)


def device_configuration() -> str:
    """Every section and key of the machine's configuration."""
    lines: list[str] = []
    for section, kind in device_config.SECTIONS.items():
        lines += [
            f"### `[{section}]`",
            "",
            (kind.__doc__ or "").strip(),
            "",
            "| key | type | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            if item.default is dataclasses.MISSING:
                default = "must be set"
            else:
                default = "not set" if item.default is None else f"`{device_examples.toml(item.default)}`"
            words = device_examples.explanation(kind, item)
            lines.append(
                f"| `{item.name}` | {device_examples.type_words(hints[item.name])} | {default} | {words} |"
            )
        lines.append("")
    return "\n".join(lines)
