"""What a stack with TLS is made of: who listens where, what devices are told, what is refused before a start."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from utdstream.engine import config as engine_config
from utdstream.engine.stack import data_folder, private_files, programs, proxy
from utdstream.engine.stack.settings import Ports, StackSettings, TlsSection, port_names
from utdstream.errors import InvalidConfig

PORTS = Ports(
    engine=8080,
    livekit=7880,
    livekit_udp=7882,
    livekit_tcp=7881,
    stun=3478,
    mqtt=1883,
    mqtt_engine=1884,
    https=8443,
    mqtts=8883,
)


def loaded(
    folder: Path, text: str = "", *, address: str = "192.168.7.9", tls: TlsSection | None = None
) -> StackSettings:
    given = folder / "given.toml"
    given.write_text(f"[stack]\nlan = true\n{text}", encoding="utf-8")
    settings, lock = data_folder.load(config=given, data=folder / "data", lan=False, address=address, tls=tls)
    os.close(lock)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return replace(loaded(tmp_path, tls=TlsSection(enabled=True)), ports=PORTS)


def test_programs_when_the_stack_encrypts_listen_in_clear_on_loopback_alone(settings: StackSettings) -> None:
    """Media, which is encrypted, stays on the network; the proxy alone has the two public ports."""
    assert {name: settings.host_of(name) for name in port_names(settings)} == {
        "engine": "127.0.0.1",
        "livekit": "127.0.0.1",
        "mqtt": "127.0.0.1",
        "mqtt_engine": "127.0.0.1",
        "livekit_udp": "0.0.0.0",
        "livekit_tcp": "0.0.0.0",
        "stun": "0.0.0.0",
        "https": "0.0.0.0",
        "mqtts": "0.0.0.0",
    }
    assert programs.livekit_config(settings)["bind_addresses"] == ["127.0.0.1"]
    assert "listener 1883 127.0.0.1\n" in programs.mosquitto_config(settings, Path("plugin.so"))
    servers = re.findall(r"^    server \S+ (\S+)", proxy.haproxy_config(settings), re.MULTILINE)
    assert servers == ["127.0.0.1:8080", "127.0.0.1:7880", "127.0.0.1:1883"]


def test_devices_when_the_stack_encrypts_are_told_its_tls_ports_and_authority(
    settings: StackSettings,
) -> None:
    """The engine understands its file; the login names scheme, port and authority."""
    tables = programs.engine_config(settings)
    assert settings.base_url == "https://192.168.7.9:8443"
    assert tables["livekit"]["public_url"] == "wss://192.168.7.9:8443"
    path = settings.folder / "engine.toml"
    private_files.write_tables(path, tables)
    read = engine_config.load(path)
    assert read.mqtt is not None
    assert (read.mqtt.public_host, read.mqtt.public_port) == ("192.168.7.9", 8883)
    assert read.mqtt.public_tls
    assert read.mqtt.public_ca_file == settings.folder / "engine-ca.pem", "the engine's copy"
    assert (read.engine.forwarded_for, read.is_key_open) == (True, False)


def test_stack_without_tls_when_configured_has_neither_a_proxy_nor_its_ports(tmp_path: Path) -> None:
    """Nothing changes for those that do not ask for it."""
    settings = loaded(tmp_path)
    assert settings.parts == ("livekit", "mqtt", "engine")
    assert not {"https", "mqtts"} & set(port_names(settings))
    assert programs.engine_config(settings)["engine"]["forwarded_for"] is False
    assert (settings.ca_file, settings.mqtt_tls) == (None, False)


def test_ports_when_tls_is_added_later_are_those_of_before_and_two_more(tmp_path: Path) -> None:
    """A data folder of an earlier version, or of a run without TLS, knows nothing of them."""
    before = loaded(tmp_path)
    kept = replace(before, ports=replace(before.ports, https=None, mqtts=None, engine=18_080))
    data_folder.remember_ports(kept)
    after = loaded(tmp_path, tls=TlsSection(enabled=True))
    assert after.ports.engine == 18_080
    assert {"https", "mqtts"} <= set(port_names(after))


def test_address_when_it_is_of_ipv6_is_told_in_brackets_and_given_to_media(tmp_path: Path) -> None:
    """Written as people write it, with or without brackets."""
    for address in ("fd00::7", "[fd00:0::7]"):
        settings = replace(loaded(tmp_path, address=address, tls=TlsSection(enabled=True)), ports=PORTS)
        assert settings.base_url == "https://[fd00::7]:8443"
        assert settings.mqtt_host == "fd00::7"
        rtc = programs.livekit_config(settings)["rtc"]
        assert isinstance(rtc, dict)
        assert (rtc["node_ip"], rtc["ips"]) == ("fd00::7", {"includes": ["fd00::7/128"]})
        assert rtc["stun_servers"] == ["[fd00::7]:3478"]
        assert settings.host_of("livekit_udp") == "::"


@pytest.mark.parametrize(
    ("text", "tls", "words"),
    [
        ("behind_proxy = true\n", TlsSection(enabled=True), "leave one of them out"),
        ('public_url = "http://engine.example.com"\n', TlsSection(enabled=True), "https://"),
        ("", TlsSection(certificate=Path("chain.pem")), "give both --tls-cert and --tls-key"),
        ("", TlsSection(key=Path("key.pem")), "give both --tls-cert and --tls-key"),
        ('[tls]\nkey = "key.pem"\n', None, "give both --tls-cert and --tls-key"),
        ('[tls]\nnames = "one"\n', None, "a list of texts"),
    ],
)
def test_tls_when_the_settings_contradict_each_other_is_refused(
    tmp_path: Path, text: str, tls: TlsSection | None, words: str
) -> None:
    """Before anything starts, in one sentence."""
    with pytest.raises(InvalidConfig, match=words):
        loaded(tmp_path, text, tls=tls)


@pytest.mark.parametrize("address", ["fe80::1", "fe80::1%eth0", "fd00::x", "no-such-name.invalid"])
def test_address_when_devices_could_not_use_it_is_refused(tmp_path: Path, address: str) -> None:
    """One that is of a single link cannot stand in an address of the web."""
    with pytest.raises(InvalidConfig, match="address"):
        loaded(tmp_path, address=address, tls=TlsSection(enabled=True))


def test_settings_of_the_file_when_the_command_says_tls_too_are_kept(tmp_path: Path) -> None:
    """`--tls` takes the file's certificate; `--tls-cert` and `--tls-key` win over it."""
    text = '[tls]\ncertificate = "chain.pem"\nkey = "key.pem"\nnames = ["more"]\n'
    plain = loaded(tmp_path, text, tls=TlsSection(enabled=True)).tls
    assert (plain.certificate, plain.key) == (tmp_path / "chain.pem", tmp_path / "key.pem")
    other = TlsSection(enabled=True, certificate=Path("/other.pem"), key=Path("/other.key"))
    won = loaded(tmp_path, text, tls=other).tls
    assert (won.certificate, won.key, won.names) == (Path("/other.pem"), Path("/other.key"), ("more",))


@pytest.mark.parametrize(("descriptors", "most"), [(1024, 462), (64, 32), (1_000_000, 2000)])
def test_proxy_when_descriptors_are_few_takes_fewer_connections(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    """Each connection needs two; one address of strangers has a thirty-second."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (descriptors, descriptors))
    text = proxy.haproxy_config(settings)
    assert f"    maxconn {most}\n" in text
    assert f"sc0_conn_rate(strangers) gt {max(8, most // 32)} }}" in text
