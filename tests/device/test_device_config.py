"""The configuration: what is wrong is said with file, section, key and what was expected."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from pathlib import Path

import pytest

from device.config import load, parse, without_secrets
from device.errors import ConfigError
from device.examples import example
from utdstream.limits import MAX_SEATS
from utdstream.settings import shown, toml

HEAD = '[engine]\napp_id = "1"\n[device]\nidentity = "door"\n'


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "doorbell.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_configuration_when_short_has_defaults_for_the_rest(tmp_path: Path) -> None:
    """Two keys are enough; a relative path is beside the file."""
    config = load(written(tmp_path, HEAD + '[doorbell]\nchime_file = "ding.wav"\n'))
    assert config.doorbell.ring_timeout_s == 30
    assert config.audio.adapter == "alsa"
    assert config.doorbell.chime_file == tmp_path / "ding.wav"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[enigne]\napp_id = "1"', "no section [enigne]; did you mean [engine]?"),
        (HEAD.replace("app_id", "ap_id"), "[engine] ap_id: there is no such key; did you mean app_id?"),
        (HEAD + "[doorbell]\nxyz = 1", "[doorbell] xyz: there is no such key; known are callees"),
        (
            HEAD + "[camera]\nwidth = 9999",
            "width: must be an even whole number from 64 to 1920, not 9999",
        ),
        (
            HEAD + '[camera]\nwidth = "big"',
            'width: must be an even whole number from 64 to 1920, not "big"',
        ),
        (
            HEAD + "[camera]\nwidth = true",
            "width: must be an even whole number from 64 to 1920, not true",
        ),
        (
            HEAD + "[camera]\nheight = 481",
            "height: must be an even whole number from 64 to 1080, not 481",
        ),
        (
            HEAD.replace("[device]", 'base_url = "192.168.1.10"\n[device]'),
            "[engine] base_url: must be an address like http://192.168.1.10:8080",
        ),
        (
            HEAD.replace("[device]", 'base_url = "ftp://192.168.1.10"\n[device]'),
            "[engine] base_url: must be an address",
        ),
        (
            HEAD.replace("[device]", 'app_key = "canary"\n[device]'),
            "[engine] app_key: there is no such key; did you mean app_key_file?",
        ),
        (HEAD + "[camera]\nrotation = 90", "[camera] rotation: must be one of 0, 180, not 90"),
        (HEAD + '[audio]\nadapter = "alas"', 'must be one of "alsa"'),
        (HEAD + '[audio]\nadapter = "alas"', 'did you mean "alsa"?'),
        (HEAD + "[audio]\nadapter = 1", "[audio] adapter: must be one of"),
        (
            HEAD + '[doorbell]\ncallees = "anna"',
            '[doorbell] callees: must be a list of texts, like ["anna", "ben"]',
        ),
        (HEAD + "[doorbell]\ncallees = [1]", "[doorbell] callees: must be a list of texts"),
        (
            HEAD + '[doorbell]\ncallees = ["anna", "ben", "anna"]',
            '[doorbell] callees: "anna" stands there twice; leave one of them out',
        ),
        (HEAD + "[doorbell]\nchime_file = 1", "[doorbell] chime_file: must be the path"),
        (HEAD + "[doorbell]\nchime = 1", "[doorbell] chime: must be true or false, not 1"),
        (
            HEAD + "[doorbell]\nring_timeout_s = inf",
            "ring_timeout_s: must be a number from 2 to 120, not",
        ),
        (
            HEAD + "[doorbell]\nring_timeout_s = nan",
            "ring_timeout_s: must be a number from 2 to 120, not",
        ),
        (HEAD.replace('"door"', '""'), "[device] identity: must be a printable, non-empty text"),
        ('device = 1\n[engine]\napp_id = "1"', "[device] must be a section, not 1"),
        ('[engine]\napp_id = "1"', "[device] identity: is missing; it is the identity"),
        ("[engine", "is not TOML"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_configuration_when_wrong_says_where_and_what(tmp_path: Path, text: str | bytes, words: str) -> None:
    """One sentence, with the file's name."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert "canary" not in caught.value.message


def test_configuration_when_missing_or_unreadable_says_so(tmp_path: Path) -> None:
    """A folder, a file that is not there."""
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_key_when_its_file_is_roots_is_the_copy_that_the_service_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One configuration is good for a program that is started by hand, and for the hardened service."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    folder = Path(tempfile.mkdtemp())  # pytest's own is its user's alone
    was = os.geteuid()
    try:
        path = written(folder, HEAD.replace("[device]", 'app_key_file = "app_key"\n[device]'))
        for name, key, mode in (("app_key", "root's", 0o000), ("credentials/app_key", "given", 0o644)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(key)
            (folder / name).chmod(mode)
        folder.chmod(0o755)
        config = load(path)
        if was == 0:
            os.seteuid(65534)
        with pytest.raises(ConfigError, match="permission denied"):
            _ = config.app_key
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder / "credentials"))
        assert config.app_key == "given"
    finally:
        os.seteuid(was)
        shutil.rmtree(folder)


def test_key_when_it_is_a_file_or_a_credential_is_read_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins; without it the service manager's credential; without both one sentence."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = written(tmp_path, HEAD)
    with pytest.raises(ConfigError, match=r"LoadCredential=app_key:"):
        _ = load(path).app_key
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "app_key").write_text("from-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert load(path).app_key == "from-credential"
    (tmp_path / "key").write_text("from-file\n")
    config = load(written(tmp_path, HEAD.replace("[device]", 'app_key_file = "key"\n[device]')))
    assert config.app_key == "from-file"
    assert "from-file" not in repr(config)
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        _ = config.app_key
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = config.app_key


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("rtsp://admin:S3cr3t@10.0.0.2:554/a?b=c", "rtsp://***@10.0.0.2:554/***"),
        ("rtsp://admin:S3@cr3t@10.0.0.2/a", "rtsp://***@10.0.0.2/***"),
        ("rtsp://S3cr3t@10.0.0.2", "rtsp://***@10.0.0.2"),
        ("rtsp://admin:S3cr3t/x9@10.0.0.2/stream", "rtsp://***"),
        ("rtsp://admin:x?S3cr3t@10.0.0.2/stream", "rtsp://***"),
        ("rtsp://admin:x#S3cr3t@10.0.0.2/stream", "rtsp://***"),
        ("rtsp://admin:x S3cr3t@10.0.0.2/stream", "rtsp://***@10.0.0.2/***"),
        ("rtsp://admin:S3cr3t", "rtsp://***"),
        ("rtsp://10.0.0.2:554/user=admin&password=S3cr3t&channel=1.sdp", "rtsp://10.0.0.2:554/***"),
        ("rtsp://10.0.0.2:554/user=admin&password=p@S3cr3t", "rtsp://***"),
        ("http://10.0.0.2:88/cgi-bin/CGI.cgi?usr=admin&pwd=S3cr3t", "http://10.0.0.2:88/***"),
        ("http://10.0.0.2?pwd=S3cr3t", "http://10.0.0.2/***"),
        ("RTSPS://[fe80::1%eth0]:322/S3cr3t", "RTSPS://[fe80::1%eth0]:322/***"),
    ],
)
def test_address_when_shown_keeps_only_scheme_host_and_port(address: str, seen: str) -> None:
    """A camera's password is in its address, wherever its maker put it."""
    assert shown(address) == seen
    for text in (f"{address} does not answer", f"cannot open '{address}': refused", f"({address})"):
        assert "S3cr3t" not in without_secrets(text) or " " in address
    assert "S3cr3t" not in toml(address) + toml([address])


def test_text_when_it_holds_no_secret_is_shown_as_it_is() -> None:
    """Addresses of engines, files, sentences."""
    for plain in ("/dev/video0", "http://192.168.1.10:7880", "http://[::1]:7880/", "me@home: hello"):
        assert without_secrets(plain) == plain
        assert without_secrets(f"write {plain}, or http:// instead of https://.").endswith(
            "http:// instead of https://."
        )
        assert shown(plain) == plain
    assert (
        without_secrets("waiting for http://10.0.0.2:7880, since 3.")
        == "waiting for http://10.0.0.2:7880, since 3."
    )


def test_configuration_when_a_service_holds_a_copy_is_read_there_and_called_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is root's alone: relative paths and errors are about it all the same."""
    held = tmp_path / "credentials"
    held.mkdir()
    path = tmp_path / "etc" / "doorbell.toml"
    text = '[engine]\napp_id = "1"\n[device]\nidentity = "door"\n[doorbell]\nchime_file = "ding.wav"\n'
    (held / "doorbell.toml").write_text(text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(held))
    config = load(path)
    assert (config.path, config.doorbell.chime_file) == (path, path.parent / "ding.wav")
    for wrong in ("[dor]", "[", "[door]\npin = 99"):
        (held / "doorbell.toml").write_text(wrong)
        with pytest.raises(ConfigError) as refused:
            load(path)
        assert refused.value.message.startswith(f"{path}: ")
        assert str(held) not in refused.value.message


@pytest.mark.parametrize("app", ["doorbell", "kiosk"])
def test_example_when_read_is_valid_and_so_is_every_line_it_comments_out(app: str) -> None:
    """The example is made of the code, so it cannot be out of date; its defaults are the defaults."""
    text = example(app)
    plain = parse(tomllib.loads(text), Path("/etc/utdstream/x.toml"))
    lines = [
        line[1:] if line.startswith("#") and " = " in line and not line.startswith("# ") else line
        for line in text.splitlines()
    ]
    full = parse(tomllib.loads("\n".join(line for line in lines if not line.endswith("="))), plain.path)
    assert full == plain


def test_kiosk_when_its_room_has_a_hundred_seats_takes_the_last(tmp_path: Path) -> None:
    """The contract's limit: 1 to 100 seats, numbered 0 to 99."""
    config = load(written(tmp_path, HEAD + "[kiosk]\nseat = 99\nseat_count = 100\n"))
    assert (config.kiosk.seat, config.kiosk.seat_count) == (MAX_SEATS - 1, MAX_SEATS)
    for wrong in ("seat = 100", "seat_count = 101", "seat_count = 0", "seat = -1"):
        with pytest.raises(ConfigError, match=wrong.split(" ")[0]):
            load(written(tmp_path, HEAD + f"[kiosk]\n{wrong}\n"))
