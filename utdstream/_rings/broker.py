"""What a broker connection is made of: address, login, TLS, client id. No paho, no thread, no network.

Owns: `Broker`, the checks that find a wrong setting where it is written. Imports vocabulary and the standard
library.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import traceback
import uuid
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from utdstream.errors import InvalidConfig
from utdstream.models import MqttLogin
from utdstream.secret_file import why
from utdstream.trust import speaks_tls, tls_context

CONNECT_TIMEOUT_S = 3.0
"""For one attempt to reach a broker, and again for its TLS handshake."""
MAX_CLIENT_ID = 128
ONLY_TLS = "the broker speaks TLS there, and was spoken to in clear: give `tls`, or have the engine name it"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and how to sign in there. Raises: InvalidConfig for what cannot be meant."""

    host: str
    port: int
    username: str | None = field(default=None, kw_only=True)
    password: str | None = field(default=None, repr=False, kw_only=True)
    password_file: Path | None = field(default=None, kw_only=True)
    tls: ssl.SSLContext | None = field(default=None, kw_only=True)
    client_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_address(self.host, self.port)
        if self.password is not None and self.password_file is not None:
            raise InvalidConfig("MqttIncomingCalls: give password or password_file, not both")
        if self.client_id is not None and not 1 <= len(self.client_id) <= MAX_CLIENT_ID:
            raise InvalidConfig(f"MqttIncomingCalls: client_id must have 1 to {MAX_CLIENT_ID} characters")

    def read_password(self) -> str | None:
        """Returns the password as it is now. Raises: InvalidConfig when its file cannot be read."""
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(
                f"the MQTT password file {self.password_file} cannot be read: {why(error)}"
            ) from error

    def is_the_same_as(self) -> Hashable:
        """Returns what another one must have too for one connection to serve both. Holds the password."""
        trust = None
        if self.tls is not None:
            authorities = frozenset(self.tls.get_ca_certs(binary_form=True))
            trust = (self.tls.verify_mode, self.tls.check_hostname, authorities)
        return (self.host, self.port, self.username, self.password, self.password_file, trust)

    def refuses_clear_text(self) -> str | None:
        """Says so when this is spoken to in clear and takes TLS alone. Blocks: a second at most."""
        return ONLY_TLS if self.tls is None and speaks_tls(self.host, self.port) else None

    def __str__(self) -> str:
        secret = "none" if self.password is None and self.password_file is None else "***"
        return (
            f"host={self.host!r}, port={self.port}, username={self.username!r}, password={secret}, "
            f"tls={self.tls is not None}"
        )


def _check_address(host: str, port: int) -> None:
    try:
        usable = isinstance(host, str) and bool(host) and bool(host.encode("idna"))
    except UnicodeError:
        usable = False
    if not usable:
        raise InvalidConfig(f"MqttIncomingCalls: host must be a host name or an address, not {host!r}")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise InvalidConfig(f"MqttIncomingCalls: port must be 1 to 65535, not {port!r}")


def wished_tls(tls: bool | str | Path | ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Makes a TLS context: the system's authorities for True, that CA file for a path, else what was given."""
    if tls is None or tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return tls
    return tls_context(None if tls is True else tls)


def login_tls(login: MqttLogin, ca_file: str | Path | None) -> ssl.SSLContext | None:
    """Makes the TLS context of a login that the engine gave; None when it says that the broker speaks none."""
    if not login.tls:
        return None
    if login.ca is None:
        return tls_context(ca_file)
    try:
        return ssl.create_default_context(cadata=login.ca)
    except (ValueError, ssl.SSLError) as error:
        raise InvalidConfig(
            f"the broker's authority that the engine named cannot be used ({error}); look at the engine's settings"
        ) from error


def tidy(context: ssl.SSLContext) -> ssl.SSLContext:
    """Wraps the context to close the socket of a handshake that fails (paho 2.2.0 leaves it to the collector)."""
    return cast("ssl.SSLContext", _TidyTls(context))


class _TidyTls:
    """The part of an `ssl.SSLContext` that paho uses."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.check_hostname = context.check_hostname

    def wrap_socket(
        self,
        sock: socket.socket,
        *,
        server_hostname: str | None = None,
        do_handshake_on_connect: bool = False,
    ) -> ssl.SSLSocket:
        try:
            wrapped = self._context.wrap_socket(
                sock, server_hostname=server_hostname, do_handshake_on_connect=do_handshake_on_connect
            )
        except BaseException as error:
            _close_half_made(error)
            raise
        try:
            wrapped.settimeout(CONNECT_TIMEOUT_S)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def _close_half_made(error: BaseException) -> None:
    """Closes what `wrap_socket` leaves open when the connection was reset before it (Python 3.11 to 3.14)."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        half_made = frame.f_locals.get("self")
        if isinstance(half_made, ssl.SSLSocket):
            half_made.close()


def default_client_id(app_id: str, identity: str, password: str | None = None) -> str:
    """Returns one id for an app, identity and machine at every start, so that the broker finds the session.

    The broker gives a session to whoever connects with its id, whatever the login is. So nobody may compute it
    who has not the password of this one.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = f"{socket.gethostname()}-{uuid.getnode():x}"
    digest = hashlib.sha256(
        "\0".join((app_id, identity, machine, password or "")).encode("utf-8", "surrogatepass")
    )
    return f"utd-{digest.hexdigest()[:19]}"
