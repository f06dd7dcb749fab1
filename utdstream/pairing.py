"""Pairing: a device gets an app key, and learns whom to trust, by a code from the engine's machine.

Owns: `pair`, `Paired`. `utdstream engine pair` shows the code; `utd-device pair` and `utdstream pair` are this
function. Main thread, or any other one that may block. What is proved stands in `_wire/pairing`.

1. Nothing is trusted on first sight: until the engine has proved that it made the code, and that the authority in
   its answer is its own, it may be anybody. From then on its certificate is checked by that authority alone, or by
   the system's when it has none of its own.
2. The key is made here and never sent: the engine gets its digest. It is on the disk before the engine hears of
   it, so an answer that is lost loses no key: the same command, again, ends what was begun.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from utdstream import _settings_lines as lines
from utdstream._rest.http import Http, check_base_url
from utdstream._rest.introduction import ask_a_stranger
from utdstream._threads.deadline import Deadline
from utdstream._wire import app_keys, codec, routes
from utdstream._wire import pairing as wire
from utdstream.errors import (
    EngineError,
    EngineUnreachable,
    InvalidConfig,
    PairingFailed,
    TlsFailed,
    UTDStreamException,
)
from utdstream.trust import UNKNOWN_AUTHORITY
from utdstream.whole_files import sync_names, write_whole

T = TypeVar("T")

TIMEOUT_S = 30.0
_PAUSE_S = 0.5
_READABLE = 0o644
_AGAIN = "have another code made by `utdstream engine pair`"
_WORDS = {
    "wrong": f"the engine knows no such pairing code: check the code and the engine's address, or {_AGAIN}",
    "used": f"the pairing code was used already: {_AGAIN}",
    "expired": f"the pairing code has run out: {_AGAIN}",
    "withdrawn": f"the pairing code was withdrawn: {_AGAIN}",
    "locked": f"the pairing code was ended by wrong attempts, somebody else's perhaps: {_AGAIN}",
}
NOT_PROVEN = "engine_not_proven"
_IN_BETWEEN = (
    "did not prove that it is the engine that made this code: somebody may stand in between, or it is another "
    "engine; nothing was given to it"
)


@dataclass(frozen=True, slots=True)
class Paired:
    """What a device knows after it was paired. The key itself is in `app_key_file`."""

    base_url: str
    app_id: str
    identity: str
    display_name: str | None
    key_id: str
    app_key_file: Path
    ca_file: Path | None
    """The engine's own authority; None: the system's authorities are good for it."""

    def facts(self) -> dict[str, str | None]:
        """Returns all of it as texts, for a command that prints JSON."""
        return {
            "base_url": self.base_url,
            "app_id": self.app_id,
            "identity": self.identity,
            "display_name": self.display_name,
            "key_id": self.key_id,
            "app_key_file": str(self.app_key_file),
            "ca_file": None if self.ca_file is None else str(self.ca_file),
        }


_ANY = Paired("u", "a", "i", "n", "k", Path("k"), Path("c"))
"""For a look at a settings file before the code is used: whether these lines can be put into it."""


def pair(
    code: str,
    *,
    app_key_file: str | Path,
    ca_file: str | Path,
    settings_file: str | Path | None = None,
    new_settings: str = "",
    base_url: str | None = None,
    timeout: float | None = None,
) -> Paired:
    """Pairs this device by the `code` that `utdstream engine pair` shows, or by the whole address with it.

    A code alone needs the engine's `base_url`. The new key goes to `app_key_file` (0600) and the engine's own
    authority, if it has one, to `ca_file`; both take the place of what was there. `settings_file` is a TOML file
    whose `[engine]` and `[device]` get the lines that a device needs; all else in it stays, or in `new_settings`
    when there is no such file. Folders are made.

    Blocks: to `timeout`, by default 30 s; an engine that is away meanwhile is asked again.
    Raises: PairingFailed, whose `code` says why; InvalidConfig for what is no code or address, for an address
    without TLS beyond this machine, and for a settings file that is no TOML; EngineUnreachable, DeadlineExceeded
    when nobody knows whether it was done: the same call, again, ends it. OSError of the disk.
    """
    deadline = Deadline(timeout, TIMEOUT_S, "pair")
    url, signs = _read(code, base_url)
    made = wire.secrets_of(signs)
    files = _Files(Path(app_key_file), Path(ca_file), settings_file, new_settings, made.id)
    key = files.key()
    try:
        meeting = _meet(url, made, deadline)
        app_key_digest = app_keys.digest_of(key, meeting.app_id)
        claim = {
            "nonce": meeting.device_nonce,
            "key_digest": app_key_digest,
            "proof": meeting.device_proof(made, app_key_digest),
            "device_name": socket.gethostname(),
        }
        answer = _complete(url, made.id, claim, files, meeting.ca, deadline)
    except BaseException as error:
        if not files.may_be_known or _is_refusal(error):
            files.forget()
        raise
    paired = _paired(answer, url, meeting, files)
    files.put(paired)
    return paired


def _read(code: str, base_url: str | None) -> tuple[str, str]:
    """The engine's address, and the signs of the code. Raises: InvalidConfig."""
    text = code.strip()
    if "://" in text:
        address, _, text = text.partition("#")
        if base_url is None:
            base_url = address.removesuffix(wire.FRAGMENT_PATH)
    if base_url is None:
        raise InvalidConfig("a pairing code alone does not say where its engine is: give its base_url too")
    url = check_base_url("base_url", base_url)
    parts = urlsplit(url)
    if parts.path or parts.query or not _has_good_port(parts):
        raise InvalidConfig(f"base_url must be an address like https://engine.example.com:8443, not {url!r}")
    signs = wire.read_code(text)
    if signs is None:
        raise InvalidConfig("the pairing code is mistyped: it is five groups of four letters and digits")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise InvalidConfig(
            f"{url} is in clear: whoever listens on the network would have the key at the first sign-in; start "
            "the engine with --tls, and pair by its https:// address"
        )
    return url, signs


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _meet(url: str, made: wire.CodeSecrets, deadline: Deadline) -> wire.Meeting:
    """What the engine said and proved. Raises: PairingFailed, EngineUnreachable, DeadlineExceeded."""
    nonce = secrets.token_hex(16)
    path = routes.pairing_action(made.id, "meet")
    answer = _patiently(lambda: ask_a_stranger(url, path, {"nonce": nonce}, deadline), deadline)
    said = [answer.get(name) for name in ("nonce", "app_id", "ca", "proof")]
    match said:  # it may be anybody's: texts of ASCII alone can be proven
        case [str(engine_nonce), str(app_id), str() | None as ca, str(proof)] if _are_ascii(said):
            meeting = wire.Meeting(nonce, engine_nonce, app_id, ca)
            if wire.is_same(proof, meeting.engine_proof(made)):
                return meeting
    raise _not_proven(url)


def _are_ascii(said: Iterable[object]) -> bool:
    return all(each is None or str(each).isascii() for each in said)


def _complete(
    url: str, pairing_id: str, claim: codec.JsonObject, files: _Files, ca: str | None, deadline: Deadline
) -> codec.JsonObject:
    """The engine's answer, from an engine whose certificate was checked. Raises: as `_meet`, TlsFailed."""
    http = Http(files.authority(ca))

    def ask() -> codec.JsonObject:
        try:
            return http.request(
                "POST",
                url + routes.pairing_action(pairing_id, "complete"),
                headers={"Content-Type": "application/json"},
                body=claim,
                deadline=deadline,
            )
        except (TlsFailed, EngineError):  # nothing was sent, or it was refused
            raise
        except BaseException:
            files.may_be_known = True
            raise

    try:
        return _patiently(ask, deadline)
    except TlsFailed as error:
        if UNKNOWN_AUTHORITY in error.message:
            raise _not_proven(url) from error
        raise
    finally:
        http.close()


def _patiently(ask: Callable[[], T], deadline: Deadline) -> T:
    """Asks again as long as nobody answers; what became of a code is said in words of our own."""
    while True:
        try:
            return ask()
        except PairingFailed as error:
            said = _WORDS.get((error.code or "").removeprefix("pairing_code_"))
            raise PairingFailed(
                said or "the engine refused the pairing code", error.status_code, error.code
            ) from error
        except EngineUnreachable as error:
            if isinstance(error, TlsFailed) or deadline.remaining() <= _PAUSE_S:
                raise
        time.sleep(_PAUSE_S)


def _is_refusal(error: BaseException) -> bool:
    """Whether the engine has said that it lets this key in at no time."""
    return isinstance(error, PairingFailed) and error.code != NOT_PROVEN


def _not_proven(url: str) -> PairingFailed:
    return PairingFailed(f"what answers at {urlsplit(url).netloc} {_IN_BETWEEN}", code=NOT_PROVEN)


def _paired(answer: codec.JsonObject, url: str, meeting: wire.Meeting, files: _Files) -> Paired:
    identity, key_id = codec.text(answer.get("identity")), codec.text(answer.get("key_id"))
    if identity is None or key_id is None:
        raise EngineUnreachable(
            "the engine's answer holds no identity: it is newer or older than this device"
        )
    return Paired(
        base_url=url,
        app_id=meeting.app_id,
        identity=identity,
        display_name=codec.text(answer.get("display_name")),
        key_id=key_id,
        app_key_file=files.app_key,
        ca_file=None if meeting.ca is None else files.ca,
    )


class _Files:
    """The files of one pairing: drafts beside their places until it is done, named after the code's id.

    A draft with the key stays when it is not known whether the engine heard of it.
    """

    def __init__(
        self, app_key: Path, ca: Path, settings: str | Path | None, new_settings: str, pairing_id: str
    ) -> None:
        self.app_key, self.ca = app_key.absolute(), ca.absolute()
        self._settings = None if settings is None else Path(settings).resolve()
        self._id = pairing_id
        self.may_be_known = self._draft(self.app_key).exists()
        """Whether the engine may know the key already: from a request that nobody answered."""
        if len({self.app_key, self.ca, self._settings}) < 3:
            raise InvalidConfig("app_key_file, ca_file and settings_file must be three files")
        for place in filter(None, (self.app_key, self.ca, self._settings)):
            place.parent.mkdir(parents=True, exist_ok=True)
        self._text, self._status = new_settings, None
        if self._settings is not None and self._settings.exists():
            self._text, self._status = _text_of(self._settings), self._settings.stat()

    def key(self) -> str:
        """The new key, on the disk; the one of an attempt with the same code that did not end."""
        draft = self._draft(self.app_key)
        with contextlib.suppress(FileNotFoundError):
            kept = draft.read_text(encoding="utf-8").strip()
            if re.fullmatch(rf"utd_[0-9a-f]{{{2 * app_keys.KEY_BYTES}}}", kept):
                return kept
        key = app_keys.key_of(secrets.token_bytes(app_keys.KEY_BYTES))
        write_whole(draft, f"{key}\n")
        return key

    def authority(self, ca: str | None) -> Path | None:
        """Where the engine's authority is for now."""
        if ca is None:
            return None
        write_whole(self._draft(self.ca), ca, mode=_READABLE)
        return self._draft(self.ca)

    def put(self, paired: Paired) -> None:
        """Puts everything in its place."""
        if paired.ca_file is not None:
            self._draft(self.ca).replace(self.ca)
        self._draft(self.app_key).replace(self.app_key)
        for place in (self.app_key, self.ca):
            for left in place.parent.glob(self._draft(place, "*").name):
                left.unlink(missing_ok=True)
            sync_names(place.parent)
        if self._settings is not None:
            text = lines.with_lines(self._text, _wanted(paired, self._settings.parent))
            mode = 0o600 if self._status is None else self._status.st_mode & 0o777
            write_whole(self._settings, text, mode=mode)
            if self._status is not None and os.geteuid() == 0:
                os.chown(self._settings, self._status.st_uid, self._status.st_gid)

    def forget(self) -> None:
        """Deletes the drafts: the engine knows no key of them."""
        for place in (self.app_key, self.ca):
            self._draft(place).unlink(missing_ok=True)

    def _draft(self, place: Path, pairing_id: str | None = None) -> Path:
        return place.with_name(f".{place.name}.{pairing_id or self._id}.pairing")


def _wanted(paired: Paired, folder: Path) -> lines.Tables:
    def named(file: Path | None) -> str | None:
        return (
            None if file is None else str(file.relative_to(folder) if file.is_relative_to(folder) else file)
        )

    engine = {
        "base_url": paired.base_url,
        "app_id": paired.app_id,
        "app_key_file": named(paired.app_key_file),
        "ca_file": named(paired.ca_file),
    }
    device: dict[str, str | None] = {"identity": paired.identity}
    if paired.display_name is not None:
        device["name"] = paired.display_name
    return {"engine": engine, "device": device}


def _text_of(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        lines.with_lines(text, _wanted(_ANY, file.parent))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{file} cannot be read ({error}); name another file") from error
    except UTDStreamException as error:
        raise InvalidConfig(f"{file}: {error.message}") from error
    return text
