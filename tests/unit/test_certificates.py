"""The certificate of a stack: of an authority that is made once and kept, or given and checked."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from authority import DAY, Authority
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from utdstream.engine.stack import certificates
from utdstream.engine.stack.certificates import Certificate, prepare
from utdstream.engine.stack.settings import StackSection, StackSettings, TlsSection
from utdstream.errors import InvalidConfig


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return StackSettings(
        folder=tmp_path / "data", address="192.168.7.9", lan=True, tls=TlsSection(enabled=True)
    )


def server_of(settings: StackSettings) -> x509.Certificate:
    return x509.load_pem_x509_certificate(settings.server_file.read_bytes())


def authority_of(settings: StackSettings) -> x509.Certificate:
    assert settings.ca_file is not None
    return x509.load_pem_x509_certificate(settings.ca_file.read_bytes())


def names_of(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def given(
    settings: StackSettings, files: tuple[Path, Path], *, address: str = "engine.example.com"
) -> StackSettings:
    return replace(settings, address=address, tls=TlsSection(certificate=files[0], key=files[1]))


# --- of an authority made here


def test_certificate_when_made_is_signed_by_an_authority_that_is_another(settings: StackSettings) -> None:
    """The core's TLS refuses a server that is its own authority. The fingerprint is the authority's."""
    made = prepare(settings)
    server, authority = server_of(settings), authority_of(settings)
    server.verify_directly_issued_by(authority)
    assert server.subject != authority.subject
    assert made.fingerprint == certificates.fingerprint_of(authority)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_files_when_made_are_readable_by_their_owner_alone(settings: StackSettings) -> None:
    """Keys above all."""
    prepare(settings)
    files = list(settings.server_file.parent.iterdir())
    assert {file.name for file in files} == {"ca.pem", "ca.key", "server.pem", "ca.pem.good", "ca.key.good"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize("address", ["192.168.7.9", "fd00::7", "engine.home.arpa"])
def test_certificate_when_made_names_what_devices_are_told(settings: StackSettings, address: str) -> None:
    """Address or name, whatever more the settings say, and this machine by its usual names."""
    public = StackSection(public_url="https://bell.example.com")
    tls = TlsSection(enabled=True, names=("Tür.example.com", "10.0.0.7"))
    prepare(replace(settings, address=address, node_ip="192.168.7.10", public=public, tls=tls))
    names = names_of(server_of(settings))
    wanted = {
        "bell.example.com",
        "xn--tr-xka.example.com",
        "10.0.0.7",
        "192.168.7.10",
        "localhost",
        "127.0.0.1",
        "::1",
    }
    assert wanted <= set(names)
    prepare(replace(settings, address=address))
    assert address in names_of(server_of(settings))


def test_authority_when_there_is_one_stays_whatever_else_changes(settings: StackSettings) -> None:
    """Every device has it. A second start changes nothing, a new address the server's certificate alone."""
    first = prepare(settings)
    assert prepare(settings) == first
    moved = prepare(replace(settings, address="192.168.7.77"))
    assert moved.fingerprint == first.fingerprint
    assert moved.serial != first.serial
    settings.server_file.unlink()
    assert prepare(settings).fingerprint == first.fingerprint


@pytest.mark.parametrize("lost", ["missing", "empty", "another's", "no key at all"])
def test_authority_when_its_key_is_lost_is_refused_with_a_sentence(
    settings: StackSettings, tmp_path: Path, lost: str
) -> None:
    """A new authority in silence would turn every device away."""
    prepare(settings)
    key = settings.server_file.with_name("ca.key")
    key.unlink()
    key.with_name("ca.key.good").unlink()
    other = (Authority(tmp_path, "other").folder / "ca.key").read_text()
    if lost != "missing":
        key.write_text({"empty": "", "another's": other, "no key at all": "x"}[lost])
    with pytest.raises(InvalidConfig, match=r"put a copy .* back, or delete the folder"):
        prepare(settings)


def test_authority_when_two_stacks_name_its_folder_is_one(settings: StackSettings, tmp_path: Path) -> None:
    """One `ca_file` for two houses."""
    shared = replace(settings, tls=TlsSection(enabled=True, authority=tmp_path / "shared"))
    other = replace(shared, folder=tmp_path / "other", address="192.168.7.10")
    assert prepare(shared).fingerprint == prepare(other).fingerprint
    assert shared.ca_file == other.ca_file == tmp_path / "shared" / "ca.pem"


def days_later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    moved = datetime.now(timezone.utc) + days * DAY
    monkeypatch.setattr(certificates, "_now", lambda: moved)


@pytest.mark.parametrize(("days", "is_renewed"), [(55, False), (65, True), (4000, True), (-400, True)])
def test_certificate_when_it_ends_soon_or_the_clock_was_wrong_is_made_anew(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, days: int, is_renewed: bool
) -> None:
    """A third of its 90 days before its end; and when it would begin in the future. The authority stays."""
    before = prepare(settings)
    days_later(monkeypatch, days)
    after = prepare(settings)
    assert (after != before) is is_renewed
    assert after.fingerprint == before.fingerprint


def test_authority_when_made_holds_whatever_the_clock_said(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board without a clock may be years off at its first start: only the server's is made anew then."""
    days_later(monkeypatch, -365 * 40)
    before = prepare(settings)
    monkeypatch.undo()
    assert prepare(settings).fingerprint == before.fingerprint
    assert authority_of(settings).not_valid_before_utc.year == 2020


# --- given


def test_certificate_when_given_is_put_with_its_key_where_the_proxy_reads_it(
    settings: StackSettings, authority: Authority
) -> None:
    """Nothing is made, and devices need no `ca_file`."""
    wanted = given(settings, authority.issue(["engine.example.com"]))
    made = prepare(wanted)
    assert wanted.ca_file is None
    assert made.fingerprint == certificates.fingerprint_of(server_of(wanted))
    assert [file.name for file in wanted.server_file.parent.iterdir()] == ["server.pem"]
    assert "PRIVATE KEY" in wanted.server_file.read_text()


@pytest.mark.parametrize(
    ("names", "address"),
    [
        (["*.example.com"], "engine.example.com"),
        (["192.168.7.9"], "192.168.7.9"),
        (["fd00::7"], "fd00:0::7"),
        (["Engine.Example.com"], "engine.example.COM"),
    ],
)
def test_certificate_when_given_names_the_address_in_one_of_the_usual_ways(
    settings: StackSettings, authority: Authority, names: list[str], address: str
) -> None:
    """A wildcard stands for one label; case does not count."""
    prepare(given(settings, authority.issue(names), address=address))


@pytest.mark.parametrize(
    "names", [["other.example.com"], ["*.engine.example.com"], ["*.com"], ["192.168.7.9"]]
)
def test_certificate_when_given_for_another_name_is_refused_with_its_names(
    settings: StackSettings, authority: Authority, names: list[str]
) -> None:
    """Every device would refuse it: better at the start than at the door."""
    with pytest.raises(InvalidConfig, match=r"does not name engine\.example\.com") as caught:
        prepare(given(settings, authority.issue(names)))
    assert names[0] in caught.value.message
    assert "--address" in caught.value.message


@pytest.mark.parametrize(
    ("valid", "words"), [((-9 * DAY, -DAY), "expired on"), ((DAY, 9 * DAY), "check the clock")]
)
def test_certificate_when_given_out_of_its_time_is_refused(
    settings: StackSettings, authority: Authority, valid: tuple[timedelta, timedelta], words: str
) -> None:
    """With the day on which it ends or begins."""
    with pytest.raises(InvalidConfig, match=words):
        prepare(given(settings, authority.issue(["engine.example.com"], valid=valid)))


def test_certificate_when_the_key_is_another_ones_is_refused(
    settings: StackSettings, authority: Authority
) -> None:
    """Both files are named, no key is shown."""
    one, other = (authority.issue(["engine.example.com"]) for _ in range(2))
    with pytest.raises(InvalidConfig, match="is not the key of"):
        prepare(given(settings, (one[0], other[1])))


def test_certificate_when_given_without_a_name_says_so(settings: StackSettings, authority: Authority) -> None:
    """There is nothing in it to give to --address."""
    with pytest.raises(InvalidConfig, match="names no host") as caught:
        prepare(given(settings, authority.issue([])))
    assert "--address" not in caught.value.message


@pytest.mark.parametrize("which", ["--tls-cert", "--tls-key"])
@pytest.mark.parametrize("content", [None, "", "x", "another kind"])
def test_file_when_it_is_nothing_of_the_kind_is_refused_by_its_option(
    settings: StackSettings, authority: Authority, which: str, content: str | None
) -> None:
    """Missing, empty, no PEM, a key that no client here could check."""
    files = authority.issue(["engine.example.com"])
    spoilt = files[0] if which == "--tls-cert" else files[1]
    if content is None:
        spoilt.unlink()
    elif content == "another kind":
        key = ed25519.Ed25519PrivateKey.generate()
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        spoilt.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    else:
        spoilt.write_text(content)
    with pytest.raises(InvalidConfig, match=f"{which}: {spoilt}"):
        prepare(given(settings, files))


def test_certificate_when_given_and_near_its_end_is_used_and_said(
    settings: StackSettings, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever renews it sees it in the log."""
    made = prepare(given(settings, authority.issue(["engine.example.com"], valid=(-DAY, DAY))))
    assert isinstance(made, Certificate)
    assert "renew it" in caplog.text
