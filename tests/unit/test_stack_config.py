"""What the generated configuration says: private, loopback, nobody outside named."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from authority import Authority

from utdstream.engine import config as engine_config
from utdstream.engine.stack import broker_files, data_folder, ports, private_files, programs
from utdstream.engine.stack.settings import Ports, StackSettings, port_names
from utdstream.errors import InvalidConfig
from utdstream.testing import LocalStack
from utdstream.whole_files import write_whole

ALL_PORTS = Ports(
    engine=8080, livekit=7880, livekit_udp=7882, livekit_tcp=7881, stun=3478, mqtt=1883, mqtt_engine=1884
)
PLUGIN = Path("/usr/lib/x/mosquitto_dynamic_security.so")


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return StackSettings(folder=tmp_path / "stack", ports=ALL_PORTS)


def test_no_file_is_readable_by_others_when_the_configuration_is_written(settings: StackSettings) -> None:
    """Secrets are private whatever the umask says."""
    before = os.umask(0)
    try:
        programs.write_configuration(settings, PLUGIN)
    finally:
        os.umask(before)
    for path in [settings.folder, *settings.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_only_this_machine_is_named_when_the_stack_is_on_loopback(settings: StackSettings) -> None:
    """No outside address, no listener beyond loopback."""
    programs.write_configuration(settings, PLUGIN)
    for path in settings.folder.rglob("*.*"):
        if path.is_file():
            for found in re.findall(r"(?<![\d.])\d+\.\d+\.\d+\.\d+", path.read_text(encoding="utf-8")):
                assert ipaddress.ip_address(found).is_loopback, path
    assert programs.livekit_config(settings)["rtc"] == {
        "udp_port": 7882,
        "tcp_port": 0,
        "node_ip": "127.0.0.1",
        "use_external_ip": False,
        "enable_loopback_candidate": True,
        "stun_servers": ["127.0.0.1:3478"],
        "interfaces": {"includes": ["lo"]},
    }
    assert "livekit_tcp" not in port_names(settings)


def test_the_lan_address_is_named_everywhere_when_the_stack_is_on_the_lan(tmp_path: Path) -> None:
    """Clients get the LAN address; the programs talk to each other over loopback."""
    settings = StackSettings(folder=tmp_path, address="192.168.7.9", lan=True, ports=ALL_PORTS)
    livekit = programs.livekit_config(settings)
    rtc = livekit["rtc"]
    assert isinstance(rtc, dict)
    assert rtc["node_ip"] == "192.168.7.9"
    assert rtc["tcp_port"] == 7881
    assert rtc["stun_servers"] == ["192.168.7.9:3478"]
    assert livekit["bind_addresses"] == ["0.0.0.0"]
    assert livekit["webhook"] == {
        "api_key": settings.secrets.livekit_api_key,
        "urls": ["http://127.0.0.1:8080/internal/livekit"],
        "filter_params": {
            "include_events": ["participant_joined", "participant_left", "track_published", "room_finished"]
        },
    }
    tables = programs.engine_config(settings)
    assert tables["engine"]["host"] == "0.0.0.0"
    assert tables["livekit"]["url"] == "http://127.0.0.1:7880"
    assert tables["livekit"]["public_url"] == "ws://192.168.7.9:7880"
    assert tables["mqtt"]["public_host"] == "192.168.7.9"


def test_rooms_are_never_made_by_a_token_when_livekit_is_configured(settings: StackSettings) -> None:
    """An unexpired token must not bring an ended call back."""
    assert programs.livekit_config(settings)["room"] == {"auto_create": False}


def test_the_engine_understands_its_file_when_it_was_generated(settings: StackSettings) -> None:
    """Writer and reader of engine.toml are two modules: they agree, about quotes and emoji too."""
    name = 'a"b\\cé😀'
    settings = replace(settings, project=replace(settings.project, name=name))
    programs.write_configuration(settings, PLUGIN)
    read = engine_config.load(settings.file("engine.toml"))
    assert read.project == settings.project
    assert read.livekit.api_secret == settings.secrets.livekit_api_secret
    assert read.mqtt is not None
    assert read.mqtt.password == settings.secrets.mqtt_password
    assert read.limits == settings.limits


def test_the_broker_is_bounded_when_it_is_configured(settings: StackSettings) -> None:
    """Packets, connections and what waits for an absent device; its state is written once a minute."""
    lines = programs.mosquitto_config(settings, PLUGIN).splitlines()
    assert {
        "max_packet_size 131072",
        "max_queued_bytes 4194304",
        "autosave_interval 60",
        "autosave_on_changes false",
    } <= set(lines)
    listeners = lines[lines.index("listener 1883 127.0.0.1") :]
    assert listeners[1:] == ["max_connections 960", "listener 1884 127.0.0.1", "max_connections 16"]


def test_everything_is_denied_but_the_engine_when_the_broker_is_new() -> None:
    """The plugin's first file holds one login, hashed, and default access that refuses."""
    config = broker_files.dynsec_config("secret")
    assert "secret" not in json.dumps(config)
    assert config["defaultACLAccess"] == {
        "publishClientSend": False,
        "publishClientReceive": False,
        "subscribe": False,
        "unsubscribe": True,
    }
    clients = config["clients"]
    assert isinstance(clients, list)
    assert [client["username"] for client in clients] == ["engine"]


def as_mosquitto_2_1_writes(tables: dict[str, Any]) -> dict[str, Any]:
    """The same logins with the password in one field, which that version makes of the three."""
    clients = []
    for client in tables["clients"]:
        one = dict(client)
        if "password" in one:
            digest, salt, rounds = one.pop("password"), one.pop("salt"), one.pop("iterations")
            one["encoded_password"] = f"$7${rounds}${salt}${digest}"
        clients.append(one)
    return {**tables, "clients": clients}


@pytest.mark.parametrize("written", [dict, as_mosquitto_2_1_writes], ids=["2.0", "2.1"])
def test_broker_logins_when_the_configuration_is_written_again_are_kept(
    settings: StackSettings, written: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Devices keep their logins over a restart of the stack, with either version of mosquitto."""
    programs.write_configuration(settings, PLUGIN)
    logins = settings.file("mqtt") / "dynsec.json"
    tables = written(json.loads(logins.read_text(encoding="utf-8")))
    tables["clients"].append({"username": "a device"})
    logins.write_text(json.dumps(tables), encoding="utf-8")
    programs.write_configuration(settings, PLUGIN)
    assert json.loads(logins.read_text(encoding="utf-8")) == tables


OF_OTHER_KEYS = broker_files.dynsec_config("of other keys")
IN_A_WAY_TO_COME = {
    "clients": [{"username": "engine", "encoded_password": "$argon2id$v=19$m=65536$c2FsdA$aGFzaA"}]
}


@pytest.mark.parametrize(
    "kept",
    ["", "{}", *map(json.dumps, (OF_OTHER_KEYS, as_mosquitto_2_1_writes(OF_OTHER_KEYS), IN_A_WAY_TO_COME))],
)
def test_broker_logins_when_the_engine_could_not_use_them_are_made_anew(
    settings: StackSettings, kept: str
) -> None:
    """After new keys, or another folder's: the engine would wait for a broker that refuses it."""
    programs.write_configuration(settings, PLUGIN)
    logins = settings.file("mqtt") / "dynsec.json"
    logins.write_text(kept, encoding="utf-8")
    programs.write_configuration(settings, PLUGIN)
    assert [client["username"] for client in json.loads(logins.read_text())["clients"]] == ["engine"]
    assert logins.read_text() != kept


def test_secrets_are_masked_when_settings_are_shown(settings: StackSettings) -> None:
    """A settings object may be logged."""
    shown = repr(settings)
    for secret in (settings.project.app_key, settings.project.app_secret, settings.secrets.mqtt_password):
        assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "[project] colour: there is no such key"),
        ({"app_id": "12"}, '[project] app_id: must be a text of 10 digits, not "12"'),
        ({"call_ring_timeout_s": 0}, "[project] call_ring_timeout_s: must be a positive number, not 0"),
        ({"calls_enabled": 1}, "[project] calls_enabled: must be true or false, not 1"),
    ],
)
def test_setting_of_a_local_stack_when_unknown_or_wrong_is_refused(
    changes: dict[str, object], words: str
) -> None:
    """The sentence names the setting and what it must be; nothing is started."""
    with pytest.raises(InvalidConfig) as caught, LocalStack(project=changes):
        pass
    assert words in caught.value.message


def test_keys_and_ports_are_kept_when_the_data_folder_is_used_again(tmp_path: Path) -> None:
    """Devices that were given a key once keep working."""
    first, lock = data_folder.load(config=None, data=tmp_path / "data", lan=False)
    os.close(lock)
    data_folder.remember_ports(first)
    second, lock = data_folder.load(config=None, data=tmp_path / "data", lan=False)
    os.close(lock)
    assert second.project == first.project
    assert second.secrets == first.secrets
    assert {"ports", "project", "secrets"} == set(tomllib.loads((first.folder / "stack.toml").read_text()))
    assert stat.S_IMODE((first.folder / "stack.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("length", [0, 200])
def test_data_folder_when_its_keys_are_lost_is_refused_with_a_sentence(tmp_path: Path, length: int) -> None:
    """An empty or cut file is no new project: every device would be refused, and nobody told why."""
    _, lock = data_folder.load(config=None, data=tmp_path, lan=False)
    os.close(lock)
    kept = tmp_path / "stack.toml"
    (tmp_path / "stack.toml.good").unlink()
    kept.write_bytes(kept.read_bytes()[:length])
    with pytest.raises(InvalidConfig, match="put a copy of this file back, or move") as caught:
        data_folder.load(config=None, data=tmp_path, lan=False)
    assert str(kept) in caught.value.message


def test_private_file_when_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the old file or the new one, never an empty one."""
    path = tmp_path / "keys.toml"
    synced: list[tuple[bool, bool]] = []
    flush = os.fsync

    def watched(handle: int) -> None:
        flush(handle)
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    assert write_whole(path, "x = 1\n")
    assert synced == [(False, False), (True, True)]
    assert not write_whole(path, "x = 1\n"), "what is there already is not written again"
    assert len(synced) == 2


def test_the_given_file_wins_and_is_not_kept_when_one_is_named(tmp_path: Path) -> None:
    """`--config` overrides for this run."""
    given = tmp_path / "given.toml"
    given.write_text(
        f'[stack]\ndata = "{tmp_path}/data"\n[project]\ncall_ring_timeout_s = 5\n[ports]\nengine = 9999\n',
        encoding="utf-8",
    )
    settings, lock = data_folder.load(config=given, data=None, lan=False)
    os.close(lock)
    assert settings.folder == tmp_path / "data"
    assert settings.project.call_ring_timeout_s == 5.0
    assert settings.ports.engine == 9999
    again, lock = data_folder.load(config=None, data=tmp_path / "data", lan=False)
    os.close(lock)
    assert again.project.call_ring_timeout_s == 30.0


def loaded(folder: Path, text: str, *, address: str | None = None) -> StackSettings:
    """The settings of a `[stack]` with these lines, ports filled in."""
    given = folder / "given.toml"
    given.write_text(f"[stack]\nlan = true\n{text}", encoding="utf-8")
    settings, lock = data_folder.load(config=given, data=folder / "data", lan=False, address=address)
    os.close(lock)
    return replace(settings, ports=ALL_PORTS)


def test_devices_when_a_proxy_is_in_front_are_told_its_addresses(tmp_path: Path) -> None:
    """One line is enough where all is behind one name; the programs themselves stay where they are."""
    settings = loaded(tmp_path, 'address = "127.0.0.1"\npublic_url = "https://engine.example.com/"\n')
    tables = programs.engine_config(settings)
    assert settings.base_url == "https://engine.example.com"
    assert tables["livekit"]["public_url"] == "wss://engine.example.com"
    assert tables["livekit"]["url"] == "http://127.0.0.1:7880"
    assert (tables["mqtt"]["public_host"], tables["mqtt"]["public_port"]) == ("engine.example.com", 1883)
    path = tmp_path / "engine.toml"
    private_files.write_tables(path, tables)
    assert not engine_config.load(path).is_key_open, "what serves a name beyond this machine has no open key"


def test_devices_when_each_part_has_a_public_address_are_told_that(
    tmp_path: Path, authority: Authority
) -> None:
    """The broker's TLS and authority too: the engine understands its file."""
    settings = loaded(
        tmp_path,
        'address = "127.0.0.1"\npublic_url = "https://engine.example.com:8443"\n'
        'livekit_public_url = "wss://media.example.com"\nmqtt_public_host = "broker.example.com"\n'
        f'mqtt_public_port = 8883\nmqtt_public_tls = true\nmqtt_public_ca_file = "{authority.ca_file}"\n',
    )
    path = tmp_path / "engine.toml"
    private_files.write_tables(path, programs.engine_config(settings))
    engine = engine_config.load(path)
    assert engine.livekit.public_url == "wss://media.example.com"
    assert engine.mqtt is not None
    told = engine.mqtt
    assert (told.public_host, told.public_port, told.public_tls) == ("broker.example.com", 8883, True)
    assert told.public_ca() == authority.ca_file.read_text()


def test_programs_when_behind_a_proxy_listen_in_clear_on_loopback_alone(tmp_path: Path) -> None:
    """Media, which is encrypted, stays on the network."""
    settings = loaded(tmp_path, 'address = "192.168.7.9"\nbehind_proxy = true\n')
    livekit = programs.livekit_config(settings)
    assert livekit["bind_addresses"] == ["127.0.0.1"]
    assert livekit["turn"] == {"enabled": True, "udp_port": 3478, "bind_addresses": ["0.0.0.0"]}
    assert programs.engine_config(settings)["engine"]["host"] == "127.0.0.1"
    assert "listener 1883 127.0.0.1\n" in programs.mosquitto_config(settings, Path("plugin.so"))
    assert [settings.host_of(name) for name in ("engine", "livekit_udp")] == ["127.0.0.1", "0.0.0.0"]


def test_address_when_it_is_a_name_is_told_to_devices_and_media_has_its_number(tmp_path: Path) -> None:
    """livekit-server takes numbers alone; the command line wins over the file."""
    settings = loaded(tmp_path, 'address = "192.168.7.9"\n', address="localhost")
    assert settings.base_url == "http://localhost:8080"
    rtc = programs.livekit_config(settings)["rtc"]
    assert isinstance(rtc, dict)
    assert (rtc["node_ip"], rtc["ips"]) == ("127.0.0.1", {"includes": ["127.0.0.1/32"]})


@pytest.mark.parametrize("wrong", ["no-such-name.invalid", "fd00::7", "exa mple"])
def test_address_when_it_leads_nowhere_is_refused_with_a_sentence(tmp_path: Path, wrong: str) -> None:
    """Before anything is started."""
    with pytest.raises(InvalidConfig, match="address"):
        loaded(tmp_path, "", address=wrong)


@pytest.mark.parametrize("wrong", ["engine.example.com", "https://engine/path", "ftp://x", "https://u:p@x"])
def test_public_url_when_it_is_no_address_is_refused_by_its_name(tmp_path: Path, wrong: str) -> None:
    """A path cannot be had: livekit's client puts its own there."""
    with pytest.raises(InvalidConfig, match="public_url"):
        loaded(tmp_path, f'address = "127.0.0.1"\npublic_url = "{wrong}"\n')


def test_a_second_stack_is_refused_when_the_data_folder_is_in_use(tmp_path: Path) -> None:
    """Two engines on one database would lose calls."""
    _, lock = data_folder.load(config=None, data=tmp_path, lan=False)
    try:
        with pytest.raises(InvalidConfig, match="already running"):
            data_folder.load(config=None, data=tmp_path, lan=False)
    finally:
        os.close(lock)


@pytest.mark.parametrize("text", ["[nothing]\nx = 1\n", "x = 1\n", "[stack\n", "[stack]\nlan = 3\n"])
def test_a_wrong_file_is_refused_with_a_sentence_when_it_is_named(tmp_path: Path, text: str) -> None:
    """No traceback of a TOML parser."""
    given = tmp_path / "given.toml"
    given.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig):
        data_folder.load(config=given, data=tmp_path / "data", lan=False)


def test_a_port_is_held_when_it_was_reserved() -> None:
    """Two stacks that start at once never agree on one port, and none is in the ephemeral range."""
    with ports.reserve("tcp", "127.0.0.1") as one, ports.reserve("tcp", "127.0.0.1") as other:
        assert one.port != other.port
        assert one.port < 32768
        with pytest.raises(ports.PortTaken, match=str(one.port)):
            ports.reserve("tcp", "127.0.0.1", one.port)
    assert ports.is_free("tcp", "127.0.0.1", one.port)
