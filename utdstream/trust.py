"""Whom a program trusts on its way to an engine, and one sentence for every TLS handshake that fails.

Owns: contexts made of a CA file, what the media core is told of it, the words for a refused certificate. Standard
library only; any thread.

1. A CA file stands in place of the system's authorities for REST and broker. The media core (livekit 1.2.1) has no
   setting for it: before each connect it reads SSL_CERT_FILE and SSL_CERT_DIR, which belong to the process. So the
   core trusts the file beside the system's authorities, and a process has one such file.
2. No sentence repeats what the other side sent.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from utdstream.errors import InvalidConfig
from utdstream.secret_file import why

_log = logging.getLogger(__name__)

UNKNOWN_AUTHORITY = "its certificate is of an authority that is not trusted here"
IN_PYTHON = "ClientConfig(ca_file=...), or UTD_CA_FILE with UTDStreamClient.from_environment"
"""How a program names its CA file; see `worded_for`."""
GIVE_CA_FILE = f"give a copy of the ca_file that `engine up` prints as {IN_PYTHON}"
EXPIRED = "its certificate has expired: renew it on the engine's machine, and check the clock of this one"
NOT_YET_VALID = "its certificate is not valid yet: check the clock of this machine"
OTHER_NAME = (
    "its certificate is for another name: use a name or address that stands in it, or add this one to [tls] names "
    "of the engine"
)
NO_TLS = "nothing there speaks TLS: check the port, or write http:// instead of https://"
ONLY_TLS = "it speaks TLS there: write https:// instead of http://"
HANDSHAKE = "the TLS handshake was broken off: check the address and the port"

_BY_VERIFY_CODE = {
    9: NOT_YET_VALID,
    10: EXPIRED,
    18: UNKNOWN_AUTHORITY,
    19: UNKNOWN_AUTHORITY,
    20: UNKNOWN_AUTHORITY,
    21: UNKNOWN_AUTHORITY,
    62: OTHER_NAME,
    64: OTHER_NAME,
}
"""X509_V_ERR_… of OpenSSL's x509_vfy.h."""
_CLEAR_TEXT = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_ANSWERS = (b"\x16", b"\x15")
"""The first byte of a TLS server's: of its part of the handshake, or of an alert."""
_PROBE_S = 1.0

_core_lock = threading.Lock()
_core_file: str | None = None


def tls_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Makes a context that trusts this file alone; None: the system's authorities.

    Raises: InvalidConfig when the file cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        # OpenSSL's own error has words for nobody, and is an OSError too.
        found = "it holds no certificate" if isinstance(error, (ssl.SSLError, ValueError)) else why(error)
        raise InvalidConfig(
            f"the CA file {ca_file} cannot be used: {found}; give the engine's ca_file, as PEM"
        ) from error


def tls_problem(error: BaseException, ca_file: str | Path | None = None) -> str:
    """Says why a TLS handshake failed and what to do; empty when `error` tells of nothing like it.

    `ca_file` is the one that was given, None: none was.
    """
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            found = _BY_VERIFY_CODE.get(
                each.verify_code, f"its certificate was refused ({each.verify_message})"
            )
            return f"{found}: {_remedy(ca_file)}" if found is UNKNOWN_AUTHORITY else found
        if isinstance(each, ssl.SSLError):
            return NO_TLS if each.reason in _CLEAR_TEXT else HANDSHAKE
    return ""


def _remedy(ca_file: str | Path | None) -> str:
    if ca_file is None:
        return GIVE_CA_FILE
    return f"{ca_file} holds another one, put a copy of the ca_file that `engine up` prints in its place"


def worded_for(message: str, place: str) -> str:
    """Returns a sentence with the words of where the CA file is named: an option, a key of a configuration."""
    return message.replace(IN_PYTHON, place)


def only_tls(error: BaseException, url: str) -> bool:
    """Tells whether `error` came of clear text spoken to a port that takes TLS alone.

    Such a server closes the connection, as one that crashed does, so it is asked. Blocks: a second at most.
    """
    parts = urlsplit(url)
    cut_off = any(isinstance(each, (http.client.BadStatusLine, ConnectionError)) for each in _causes(error))
    refused = any(isinstance(each, (ConnectionRefusedError, socket.gaierror)) for each in _causes(error))
    if parts.scheme != "http" or not parts.hostname or not cut_off or refused:
        return False
    return speaks_tls(parts.hostname, parts.port or 80)


def speaks_tls(host: str, port: int) -> bool:
    """Tells whether a TLS greeting is answered as TLS does, with whatever certificate. Blocks: seconds at most."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is told to the other side
    # No `wrap_socket`: it leaves its socket open when the other side resets the connection first (Python 3.11).
    greeting = ssl.MemoryBIO()
    try:
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), greeting, server_hostname=host).do_handshake()
        with socket.create_connection((host, port), _PROBE_S) as line:
            line.sendall(greeting.read())
            return line.recv(1) in _ANSWERS
    except (OSError, ValueError):
        return False


def let_media_core_trust(ca_file: str | Path) -> None:
    """Has the media core of this process trust a CA file beside the system's authorities, from now on.

    Best before other threads run: it sets SSL_CERT_FILE, which also Python's `ssl` and child processes read.
    Raises: InvalidConfig when the process trusts another file already.
    """
    global _core_file
    wanted = str(Path(ca_file).absolute())
    with _core_lock:
        if _core_file is not None and _core_file != wanted:
            raise InvalidConfig(
                f"ca_file: the media core of this process trusts {_core_file} already, and can have one file; "
                f"put its certificates and those of {ca_file} into one"
            )
        _core_file = wanted
        present = os.environ.get("SSL_CERT_FILE")
        if present == wanted:
            return
        if present:
            _log.info("SSL_CERT_FILE was %s: the media core trusts %s in its place", present, wanted)
        os.environ.setdefault("SSL_CERT_DIR", ssl.get_default_verify_paths().openssl_capath)
        os.environ["SSL_CERT_FILE"] = wanted


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and all that it was made of: `requests` and urllib3 pack what they found into arguments."""
    left, seen = [error], set[int]()
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (*each.args, getattr(each, "reason", None), each.__cause__, each.__context__)
        left += [other for other in inner if isinstance(other, BaseException)]
