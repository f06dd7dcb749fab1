"""`utdstream call` and `utdstream answer`: a telephone for scripts.

Owns: what the two verbs do, what they print, their exit statuses. It uses the SDK as any customer would.
Threads: the work has its own (`foreground`), while the main one waits for the signal that hangs up; lines about
states come from the session's events thread.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from utdstream import (
    CallNotAnswered,
    Conflict,
    DeadlineExceeded,
    Devices,
    IncomingCall,
    InvalidConfig,
    Microphone,
    SessionClosed,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
    foreground,
)
from utdstream._command.options import in_options
from utdstream.config import DEFAULT_BASE_URL, ClientConfig
from utdstream.one_line import one_line
from utdstream.secret_file import read_secret
from utdstream.synthetic import FileMicrophone, PatternCamera, RecordingSpeaker, ToneMicrophone

ANSWERED, FAILED, NOT_ANSWERED, CUT_OFF = 0, 1, 3, 4
SNAPSHOT_S = 12.0
_ENDS = {
    "max_duration": "it reached the longest time that the engine allows",
    "participant_left": "the other side was lost",
}
"""What the engine's words for an end mean that was no hang-up."""
_LEFT = (None, "CLIENT_INITIATED", "ROOM_DELETED")
"""Why a media room is left when a call is over; another reason: it was lost."""
LOOK_S = 0.2
"""The person at the terminal is waited for in steps of this: a signal may end it."""


@dataclass(frozen=True, slots=True)
class Phone:
    """This phone's identity, its engine and its devices. `seconds` None: until either side hangs up."""

    identity: str
    base_url: str
    app_id: str
    app_key: str = field(repr=False)
    ca_file: Path | None = None
    name: str | None = None
    microphone: str = "tone"
    """tone, none, or the path of a WAV file."""
    camera: str = "pattern"
    """pattern or none."""
    record: Path | None = None
    snapshot: Path | None = None
    seconds: float | None = None
    as_json: bool = False

    @property
    def progress(self) -> TextIO:
        """Where a person reads on: not among the JSON."""
        return sys.stderr if self.as_json else sys.stdout


def credentials(
    given_url: str | None, given_id: str | None, key_file: Path | None, environ: Mapping[str, str]
) -> tuple[str, str, str]:
    """Returns `(base_url, app_id, app_key)`: the options, else the environment. Raises: InvalidConfig."""
    base_url = given_url or environ.get("UTD_BASE_URL") or DEFAULT_BASE_URL
    app_id = given_id or environ.get("UTD_APP_ID")
    if not app_id:
        raise InvalidConfig("there is no app id; give --app-id, or set UTD_APP_ID")
    app_key = environ.get("UTD_APP_KEY", "")
    if key_file is not None:
        app_key = read_secret(key_file, "the app key")
    if not app_key:
        raise InvalidConfig("there is no app key; set UTD_APP_KEY, or name a file that holds it alone")
    return base_url, app_id, app_key


def call(phone: Phone, callee: str, *, video: bool, patience_s: float) -> int:
    """Calls `callee`, talks, hangs up. Returns the exit status. Ctrl-C and SIGTERM hang up."""
    return _until_a_signal(
        phone, lambda handset: _call(handset, phone, callee, video=video, patience_s=patience_s)
    )


def _call(handset: _Handset, phone: Phone, callee: str, *, video: bool, patience_s: float) -> int:
    kind = UTDStreamType.VIDEO_CALL if video else UTDStreamType.AUDIO_CALL
    facts: dict[str, object] = {
        "callee_identity": callee,
        "type": kind.wire,
        "answered": False,
        "seconds": 0.0,
    }
    statuses: list[str] = []
    problems: list[str] = []
    with handset.signed_in() as client, client.call_session(kind) as session:
        _follow(session, statuses, phone)
        with contextlib.suppress(CallNotAnswered, Conflict):
            session.start(callee_identity=callee)
            if _is_answered(session, patience_s):
                facts["answered"] = True
                facts["seconds"] = _talk(session, phone, problems)
        facts["call_id"] = session.call_id.value
        facts["cut_off"] = _cut_off(client, session, phone, "callee")
        session.end()
    return _done(facts, statuses, problems, phone)


def _is_answered(session: UTDCallSession, patience_s: float) -> bool:
    try:
        session.wait_for_answer(timeout=patience_s)
    except DeadlineExceeded:
        return False
    return True


def answer(phone: Phone, *, how: str, once: bool, ring_s: float, wait_s: float | None) -> int:
    """Waits for calls and answers them. Returns the exit status.

    `how`: accept, reject, busy, or ask (the person at the terminal). `once`: ends after the first call.
    `wait_s`: the longest wait for a call.
    """
    if how == "ask" and not sys.stdin.isatty():
        raise InvalidConfig("there is no terminal to ask at; give --auto, --reject or --busy")
    return _until_a_signal(
        phone, lambda handset: _answer(handset, phone, how=how, once=once, ring_s=ring_s, wait_s=wait_s)
    )


def _answer(
    handset: _Handset, phone: Phone, *, how: str, once: bool, ring_s: float, wait_s: float | None
) -> int:
    with handset.signed_in() as client, client.incoming_calls() as inbox:
        inbox.connected.wait_for(True)
        print(f"waiting for calls to {phone.identity}", file=phone.progress, flush=True)
        while True:
            try:
                incoming = inbox.ringing.wait(timeout=math.inf if wait_s is None else wait_s)
            except DeadlineExceeded:
                print(f"utdstream: no call came within {wait_s:g} s", file=sys.stderr)
                return NOT_ANSWERED
            try:
                status = _take(handset, client, incoming, phone, how, ring_s)
            except UTDStreamException as error:
                if once or handset.hung_up.is_set():
                    raise
                print(f"utdstream: {error}", file=sys.stderr)
                continue
            if once:
                return status


def _take(
    handset: _Handset, client: UTDStreamClient, incoming: IncomingCall, phone: Phone, how: str, ring_s: float
) -> int:
    """Takes one incoming call, from its ring to its end. Returns what the exit status would be."""
    caller = incoming.caller_name or incoming.caller_identity
    print(f"{one_line(caller)} is calling ({incoming.type.wire})", file=phone.progress, flush=True)
    facts: dict[str, object] = {
        "call_id": incoming.call_id,
        "caller_identity": incoming.caller_identity,
        "type": incoming.type.wire,
        "answered": False,
        "seconds": 0.0,
    }
    statuses: list[str] = []
    problems: list[str] = []
    with client.call_session(incoming.type) as session:
        _follow(session, statuses, phone)
        try:
            session.ringing(incoming.call_id)
            if how == "accept":
                _let_it_ring(session, ring_s)
            wish = handset.ask(caller) if how == "ask" else how
            if wish == "reject":
                session.reject(incoming.call_id)
            elif wish == "busy":
                session.busy(incoming.call_id)
            else:
                session.accept(incoming.call_id)
                facts["answered"] = True
                facts["seconds"] = _talk(session, phone, problems)
                facts["cut_off"] = _cut_off(client, session, phone, "caller")
                session.end()
        except (Conflict, CallNotAnswered, SessionClosed):
            if handset.hung_up.is_set():
                raise
            facts["cut_off"] = _cut_off(client, session, phone, "caller")
            print("the call was over before it was answered", file=phone.progress, flush=True)
    return _done(facts, statuses, problems, phone)


class _Handset:
    """The client of one run of the command, and the end that a signal puts to it."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._client: UTDStreamClient | None = None
        self.hung_up = threading.Event()

    def signed_in(self) -> UTDStreamClient:
        """Returns the client, with the devices of the options. Raises: UTDStreamException."""
        client = self._client = _client_of(self._phone)
        client.errors.subscribe(lambda error: print(f"utdstream: {in_options(error.error)}", file=sys.stderr))
        try:
            self._must_go_on()
            client.authenticate(identity=self._phone.identity, name=self._phone.name)
        except BaseException:
            client.dispose()
            raise
        return client

    def hang_up(self) -> None:
        """Ends the call and all waits, soon. Any thread."""
        self.hung_up.set()
        if self._client is not None:
            self._client.dispose()

    def ask(self, caller: str) -> str:
        """Asks the person at the terminal what to do with this call."""
        words = {"y": "accept", "n": "reject", "b": "busy"}
        given = None
        while given not in words:
            print(f"answer {caller}? [y]es, [n]o, [b]usy: ", end="", flush=True)
            while not select.select([sys.stdin], [], [], LOOK_S)[0]:
                self._must_go_on()
            said = sys.stdin.readline()
            if not said:
                raise InvalidConfig("the terminal has gone; give --auto, --reject or --busy")
            given = said.strip().lower()[:1]
        return words[given]

    def _must_go_on(self) -> None:
        if self.hung_up.is_set():
            raise SessionClosed("a signal has ended it")


def _until_a_signal(phone: Phone, work: Callable[[_Handset], int]) -> int:
    """Returns what `work` does, or the exit status that stands for the signal which hung up."""
    handset = _Handset(phone)
    status: list[int] = []
    came = foreground.run(lambda: status.append(work(handset)), stop=handset.hang_up)
    return status[-1] if came is None else 128 + came


def _client_of(phone: Phone) -> UTDStreamClient:
    microphone: Microphone | None = None
    if phone.microphone == "tone":
        microphone = ToneMicrophone()
    elif phone.microphone != "none":
        microphone = FileMicrophone(phone.microphone)
    return UTDStreamClient(
        phone.app_id,
        phone.app_key,
        base_url=phone.base_url,
        config=ClientConfig(ca_file=phone.ca_file),
        devices=Devices(
            microphone=microphone,
            speaker=RecordingSpeaker(phone.record) if phone.record is not None else None,
            camera=PatternCamera() if phone.camera == "pattern" else None,
        ),
    )


def _follow(session: UTDCallSession, statuses: list[str], phone: Phone) -> None:
    def show(status: UTDCallStatus | None) -> None:
        if status is not None:
            statuses.append(status.wire)
            print(status.wire, file=phone.progress, flush=True)

    session.status.subscribe(lambda change: show(change.new))


def _let_it_ring(session: UTDCallSession, seconds: float) -> None:
    try:
        session.status.wait_for(lambda now: now is not None and now.is_terminal, timeout=seconds)
    except DeadlineExceeded:
        return
    raise Conflict("the caller gave up")


def _talk(session: UTDCallSession, phone: Phone, problems: list[str]) -> float:
    """Talks until the time is up or the other side hangs up. Returns the seconds it took."""
    began = time.monotonic()
    until = math.inf if phone.seconds is None else began + phone.seconds
    if phone.snapshot is not None:
        try:
            session.snapshot(phone.snapshot, timeout=max(0.1, min(SNAPSHOT_S, until - time.monotonic())))
        except (UTDStreamException, OSError) as error:
            problems.append(f"no picture was kept: {error}")
    with contextlib.suppress(DeadlineExceeded):
        session.status.wait_for(
            lambda now: now is None or now.is_terminal, timeout=max(0.001, until - time.monotonic())
        )
    return round(time.monotonic() - began, 1)


def _cut_off(client: UTDStreamClient, session: UTDCallSession, phone: Phone, other: str) -> str | None:
    """Says why a call ended that neither side hung up; None: one did, or it goes on. Blocks: as a sign-in does."""
    reason, lost = session.end_reason, session.connection.value.reason
    hung_up = (f"{other}_hangup", f"{other}_cancelled", "answered_elsewhere")
    if session.status.value is not UTDCallStatus.ENDED or reason in hung_up:
        return None
    try:
        client.authenticate(identity=phone.identity, name=phone.name)
    except UTDStreamException as error:  # the key was revoked, the identity is banned, the engine is away
        return in_options(error)
    if reason is not None:
        return _ENDS.get(reason, f"it was ended for {phone.identity}, but not here ({reason})")
    return None if lost in _LEFT else f"the media room was lost ({lost})"


def _done(facts: dict[str, object], statuses: list[str], problems: list[str], phone: Phone) -> int:
    """Prints what became of one call, whose session is disposed. Returns the exit status."""
    facts["status"] = statuses[-1] if statuses else None
    facts["statuses"] = statuses
    if phone.record is not None and facts["answered"]:
        facts["record"] = str(phone.record)
    if phone.snapshot is not None and facts["answered"] and not problems:
        facts["snapshot"] = str(phone.snapshot)
    cut_off = facts.setdefault("cut_off", None)
    if cut_off is not None:
        print(f"utdstream: the call was cut off: {cut_off}", file=sys.stderr)
    for problem in problems:
        print(f"utdstream: {problem}", file=sys.stderr)
    if phone.as_json:
        print(json.dumps(facts), flush=True)
    elif facts["answered"]:
        print(f"talked for {facts['seconds']} s", flush=True)
    else:
        print("not answered", flush=True)
    if cut_off is not None:
        return CUT_OFF
    if not facts["answered"]:
        return NOT_ANSWERED
    return FAILED if problems else ANSWERED
