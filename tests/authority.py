"""A certificate authority for tests, and a TLS server in front of any port on loopback."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
AS_USUAL = ("localhost", "127.0.0.1")


class Authority:
    """An authority with its own key; `ca_file` is what a program trusts it by."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issued = 0
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(name, self._key.public_key(), (-9 * DAY, 9 * DAY)).add_extension(
            constraints, True
        )
        made = made.add_extension(_signs_certificates(), True)  # from 3.13 on Python asks for it
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = made.add_extension(identifier, False).sign(self._key, hashes.SHA256())
        self.folder = folder / name
        """As a stack keeps its authority."""
        self.folder.mkdir()
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / "ca.key").write_bytes(_pem(self._key))

    def issue(
        self, names: Sequence[str] = AS_USUAL, *, valid: tuple[timedelta, timedelta] = (-DAY, DAY)
    ) -> tuple[Path, Path]:
        """Makes a server's certificate and key; `valid`: from when to when, counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        self._issued += 1
        made = self._builder("server", key.public_key(), valid)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = made.add_extension(identifier, False).sign(self._key, hashes.SHA256())
        stem = self._folder / f"{self._name}-{self._issued}"
        files = stem.with_suffix(".crt"), stem.with_suffix(".key")
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        return files

    def _builder(
        self, subject: str, key: ec.EllipticCurvePublicKey, valid: tuple[timedelta, timedelta]
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
        )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One authority for all tests of a run: a process has one CA file for the media core."""
    return Authority(tmp_path_factory.mktemp("authority"))


class TlsDoor:
    """Takes TLS on a free port of loopback, and hands what is in it to `to_port`; `seen` is what came by the wire.

    Without a certificate it is the listener on a wire: it hands on what it is given.
    """

    def __init__(self, to_port: int, certificate: tuple[Path, Path] | None) -> None:
        self.to_port = to_port
        self.seen = bytearray()
        """Both directions, without a certificate only."""
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed = 0
        """How many connections came through."""
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        for each in list(self._open):
            _shut(each)
        for thread in self._threads:
            thread.join(5)
        for each in [self._listener, *self._open]:
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="tls-door")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                came, _ = self._listener.accept()
                self._open.append(came)
                self._start(self._serve, came)

    def _serve(self, came: socket.socket) -> None:
        try:
            came.settimeout(5)
            inside = came if self._context is None else self._context.wrap_socket(came, server_side=True)
        except OSError:  # no TLS, or the other side refuses the certificate
            came.close()
            return
        inside.settimeout(None)
        try:
            outside = socket.create_connection(("127.0.0.1", self.to_port))
        except OSError:  # nothing is there any more
            inside.close()
            return
        self._open += [inside, outside]
        self.passed += 1
        seen = self.seen if self._context is None else bytearray()
        self._start(_pour, outside, inside, seen)
        _pour(inside, outside, seen)


def _pour(from_one: socket.socket, to_other: socket.socket, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := from_one.recv(65536):
            seen += data
            to_other.sendall(data)
    _shut(from_one)
    _shut(to_other)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(each, socket.SHUT_RDWR)
