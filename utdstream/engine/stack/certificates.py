"""The certificate a stack shows, and the local authority that signs it.

Owns: the folder `tls` of the data folder: `ca.pem` (what devices get as `ca_file`), `ca.key`, and `server.pem`,
of which the proxy gets a copy; or the check of a certificate that was given. Any thread; blocks as long as the
disk does.

1. An authority is made once and kept, with a good copy of it. A damaged one without it is refused, for every
   device would need a new file.
2. A server's certificate is made anew for other names, and when a third of its time is left.
3. What was given is checked before it is used: its key, its time, its names.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from utdstream.engine.stack import good_copies
from utdstream.engine.stack.private_files import private_folder, write_private
from utdstream.engine.stack.settings import StackSettings
from utdstream.errors import InvalidConfig

_log = logging.getLogger(__name__)

_SERVER_DAYS, _RENEWED_AT_DAYS = 90, 30
_WARNED_AT = timedelta(days=14)
_DAY = timedelta(days=1)
# Whatever the clock says that day: a board without one may be years off at its first start.
_CA_FROM = datetime(2020, 1, 1, tzinfo=timezone.utc)
_CA_UNTIL = datetime(2049, 12, 31, tzinfo=timezone.utc)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the stack shows to devices."""

    fingerprint: str
    """SHA-256 of the authority, or of the certificate that was given, as `openssl x509 -fingerprint` writes it."""
    serial: int
    until: datetime


def prepare(settings: StackSettings) -> Certificate:
    """Makes or renews what is not there or not good any more. Raises: InvalidConfig."""
    file = settings.server_file
    private_folder(file.parent)
    certificate, key = settings.tls.certificate, settings.tls.key
    if settings.ca_file is not None:
        return _of_own_authority(file, settings.ca_file, _names(settings))
    if certificate is None or key is None:
        raise InvalidConfig("a certificate needs its key: give --tls-key, or `key` in [tls]")
    return _given(file, certificate, key, settings.public_hosts)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256, as `AB:CD:...`."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


# --- of an authority made here


def _names(settings: StackSettings) -> tuple[str, ...]:
    wanted = [*settings.public_hosts, settings.media_ip, *settings.tls.names, *_HERE]
    return tuple(dict.fromkeys(map(_canonical, wanted)))


def _of_own_authority(file: Path, ca_file: Path, names: Sequence[str]) -> Certificate:
    ca, ca_key = _authority(ca_file)
    found = _read_chain(file)
    if found is None or not _is_good(found[0], ca, names):
        certificate, key = _issue(ca, ca_key, names)
        write_private(file, _pem(certificate) + _key_pem(key))
        found = [certificate]
        _log.info("a certificate was made for %s", ", ".join(names))
    return Certificate(fingerprint_of(ca), found[0].serial_number, found[0].not_valid_after_utc)


def _authority(ca_file: Path) -> tuple[x509.Certificate, Key]:
    """The authority in this file, with its key beside it; made when there is none. Raises: InvalidConfig."""
    folder, key_file = ca_file.parent, ca_file.with_name("ca.key")
    private_folder(folder)
    _mend_authority(ca_file, key_file)
    if not ca_file.exists() and not key_file.exists():
        made, made_key = _make_authority()
        write_private(key_file, _key_pem(made_key))
        write_private(ca_file, _pem(made))  # the last, for it is what is handed out
        good_copies.keep(key_file)
        good_copies.keep(ca_file)
        return made, made_key
    try:
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        key = _load_key(key_file)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidConfig(
            f"the authority in {folder} cannot be used ({error}); put a copy of ca.pem and ca.key back, or delete "
            "the folder for a new authority, whose ca.pem every device needs then"
        ) from error
    if _public(key) != _public(ca):
        raise InvalidConfig(
            f"{key_file} is not the key of {ca_file}; put a copy of both back, or delete the folder for a new "
            "authority, whose ca.pem every device needs then"
        )
    good_copies.keep(key_file)
    good_copies.keep(ca_file)
    return ca, key


def _mend_authority(ca_file: Path, key_file: Path) -> None:
    """Puts the good copies back, both or neither, when they are a pair and what is there is none."""
    copies = good_copies.copy_of(ca_file), good_copies.copy_of(key_file)
    if _is_pair(*copies) and not _is_pair(ca_file, key_file):
        for file in (key_file, ca_file):
            good_copies.put_back(file, "is damaged, or not there")


def _is_pair(ca_file: Path, key_file: Path) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        return _public(_load_key(key_file)) == _public(ca)
    except (OSError, ValueError, TypeError):
        return False


def _is_good(certificate: x509.Certificate, ca: x509.Certificate, names: Sequence[str]) -> bool:
    now = _now()
    lasts = now + timedelta(days=_RENEWED_AT_DAYS) < certificate.not_valid_after_utc
    if not lasts or now < certificate.not_valid_before_utc or _names_in(certificate) != set(names):
        return False
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _make_authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Two authorities of one name would be taken for each other.
    name = _name(f"utdstream local authority {identifier.digest.hex()[:8]}")
    made = _builder(name, name, key.public_key(), _CA_FROM, _CA_UNTIL)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    made = made.add_extension(_key_usage(signs_certificates=True), True).add_extension(identifier, False)
    return made.sign(key, hashes.SHA256()), key


def _issue(
    ca: x509.Certificate, ca_key: Key, names: Sequence[str]
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A server's certificate. The core's TLS refuses one that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = _now()
    until = now + timedelta(days=_SERVER_DAYS)
    made = _builder(_name("utdstream engine"), ca.subject, key.public_key(), now - _DAY, until)
    authority = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general(name) for name in names]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), False),
    ):
        made = made.add_extension(extension, critical)
    return made.sign(ca_key, hashes.SHA256()), key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)


# --- given


def _given(file: Path, certificate_file: Path, key_file: Path, hosts: Sequence[str]) -> Certificate:
    """Puts a certificate of the owner's where the proxy reads it. Raises: InvalidConfig, one sentence each."""
    chain = _read_chain(certificate_file)
    if chain is None:
        raise InvalidConfig(f"--tls-cert: {certificate_file} cannot be read as certificates in PEM")
    try:
        key = _load_key(key_file)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidConfig(
            f"--tls-key: {key_file} cannot be read as a key in PEM without a password"
        ) from error
    leaf = chain[0]
    if _public(key) != _public(leaf):
        raise InvalidConfig(
            f"--tls-key: {key_file} is not the key of {certificate_file}; give the two that match"
        )
    now = _now()
    if now > leaf.not_valid_after_utc:
        raise InvalidConfig(
            f"--tls-cert: {certificate_file} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    if now < leaf.not_valid_before_utc:
        raise InvalidConfig(
            f"--tls-cert: {certificate_file} begins on {leaf.not_valid_before_utc:%Y-%m-%d} only; check the clock"
        )
    names = _names_in(leaf)
    for host in map(_canonical, hosts):
        if not _is_named(host, names):
            if not names:
                raise InvalidConfig(
                    f"--tls-cert: {certificate_file} names no host (it has no subjectAltName), and no device "
                    f"takes it so; have it made for {host}"
                )
            raise InvalidConfig(
                f"--tls-cert: {certificate_file} does not name {host}, it names {', '.join(sorted(names))}; "
                "give one of these with --address, or as public_url"
            )
    if leaf.not_valid_after_utc - now < _WARNED_AT:
        _log.warning("%s expires on %s; renew it", certificate_file, f"{leaf.not_valid_after_utc:%Y-%m-%d}")
    text = "".join(map(_pem, chain)) + _key_pem(key)
    if not file.exists() or file.read_text(encoding="ascii") != text:
        write_private(file, text)
    return Certificate(fingerprint_of(leaf), leaf.serial_number, leaf.not_valid_after_utc)


def _is_named(host: str, names: set[str]) -> bool:
    _, dot, parent = host.partition(".")
    return host in names or (bool(dot) and not _is_address(host) and f"*.{parent}" in names)


# --- both


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _canonical(name: str) -> str:
    """A name or an address as certificates write it. Raises: InvalidConfig."""
    if _is_address(name):
        return str(ipaddress.ip_address(name))
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise InvalidConfig(f"{name!r} is no name and no address: a certificate cannot hold it") from error


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _read_chain(file: Path) -> list[x509.Certificate] | None:
    """The certificates in this file, the server's first; None when there is none."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None


def _names_in(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return {name.lower() for name in (*found.get_values_for_type(x509.DNSName), *addresses)}


def _load_key(file: Path) -> Key:
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Key):
        raise ValueError("it is neither RSA nor of an elliptic curve")
    return key


def _public(of: x509.Certificate | Key) -> bytes:
    return of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: Key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
