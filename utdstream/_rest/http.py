"""One HTTP request with a deadline that really holds, also against DNS that hangs and a silent server.

Owns: `requests`, the `utdstream-rest-N` threads, time-outs, the one retry, the mapping of every foreign
error. Must not know what a call is.

The request runs on one of up to eight daemon threads; the caller waits for the answer to its deadline and
not a moment longer. A thread that is stuck goes on alone: what it brings too late is handed to `undo`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from utdstream._rest.clock import EngineClock
from utdstream._rest.later import defer
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import start_thread
from utdstream._wire import codec
from utdstream.checks import how_to_write
from utdstream.errors import (
    EngineUnreachable,
    InvalidConfig,
    RateLimited,
    SessionClosed,
    TlsFailed,
    UTDStreamException,
    error_from_answer,
)
from utdstream.mailbox import Mailbox
from utdstream.trust import HANDSHAKE, ONLY_TLS, only_tls, tls_context, tls_problem

if TYPE_CHECKING:
    import requests

_log = logging.getLogger(__name__)

MAX_THREADS = 8
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 8.0
RETRY_AFTER_S = 0.15
MAX_BODY_BYTES = 2 * 1024 * 1024
IDLE_S, LAST_IDLE_S = 5.0, 30.0
"""A thread that had nothing to do for so long ends, with its connection; the last one awaits the next poll."""
LOOK_S = 0.01
_HELD = {"pool", "conn", "request", "response"}
"""What an error of `requests` or urllib3 holds beside its words."""


def check_base_url(name: str, url: str) -> str:
    """Returns `url` without a trailing slash. Raises: InvalidConfig when it is no http(s) address."""
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidConfig(
            f"{name} must look like https://engine.example.com, not {url!r}; {how_to_write(str(url))}"
        )
    if parts.username or parts.password:
        raise InvalidConfig(f"{name} must not carry a user name or password")
    return url.rstrip("/")


@dataclass(slots=True)
class Job:
    """One request and the caller that may still be waiting for it."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    deadline: Deadline
    retry: bool
    undo: Callable[[codec.JsonObject], None] | None
    reply: Mailbox[codec.JsonObject | UTDStreamException] = field(default_factory=Mailbox)
    lock: threading.Lock = field(default_factory=threading.Lock)
    abandoned: bool = False
    outcome: codec.JsonObject | UTDStreamException | None = None
    """Kept beside `reply`: Ctrl-C may come when the caller has taken it from there and not looked at it."""

    def answer(self, outcome: codec.JsonObject | UTDStreamException) -> None:
        """Gives the outcome to the caller, or undoes it when the caller has gone."""
        with self.lock:
            late = self.abandoned
            self.outcome = outcome
            if not late:
                self.reply.put(outcome)
        if late and self.undo is not None and not isinstance(outcome, UTDStreamException):
            self.undo(outcome)

    def abandon(self) -> codec.JsonObject | UTDStreamException | None:
        """Gives up, as the caller; an outcome that came in the same moment is returned instead."""
        with self.lock:
            self.abandoned = self.outcome is None
            return self.outcome


class Http:
    """A pool of blocking requests. Any thread; `close()` is idempotent.

    `ca_file` is trusted instead of the system's authorities. Raises: InvalidConfig when it cannot be used.
    """

    def __init__(self, ca_file: str | Path | None = None) -> None:
        if ca_file is not None:
            tls_context(ca_file)
        self._verify: bool | str = True if ca_file is None else str(ca_file)
        self._jobs_lock = threading.RLock()  # entered as itself, see `_threads/lanes`
        self._condition = threading.Condition(self._jobs_lock)
        self._jobs: deque[Job] = deque()
        self._threads = 0
        self._idle = 0
        self._number = 0
        self._closed = False
        self.is_closed = threading.Event()
        self._undoing: dict[int, object] = {}
        """What runs detached; written in single steps, without a lock."""
        self._late: dict[int, Job] = {}
        """Requests under way that were given up; likewise."""
        self.clock = EngineClock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Mapping[str, object] | None = None,
        deadline: Deadline,
        retry: bool = False,
        undo: Callable[[codec.JsonObject], None] | None = None,
    ) -> codec.JsonObject:
        """Returns the JSON object the engine answered with.

        `retry`: once, after a transport fault only (never after an HTTP error). `undo` gets an answer
        that came after the caller had gone, on the REST thread.
        Blocks: to the deadline. Raises: EngineError kinds, EngineUnreachable, DeadlineExceeded.
        """
        payload = json.dumps(body, separators=(",", ":")).encode() if body is not None else None
        job = Job(method, url, headers, payload, deadline, retry, undo)
        self._submit(job)
        try:
            outcome = deadline.get(job.reply)
        except Empty:
            late = self._abandon(job)
            if late is None:
                raise deadline.error("the engine did not answer") from None
            outcome = late
        except BaseException:  # KeyboardInterrupt: what comes of the request is undone
            late = self._abandon(job)
            if late is not None and undo is not None and not isinstance(late, UTDStreamException):
                self.run_detached(lambda: undo(late))
            raise
        if isinstance(outcome, UTDStreamException):
            raise outcome
        return outcome

    def _abandon(self, job: Job) -> codec.JsonObject | UTDStreamException | None:
        self._late[id(job)] = job
        outcome = job.abandon()
        if outcome is not None:
            self._late.pop(id(job), None)
        return outcome

    def run_detached(self, work: Callable[[], None]) -> None:
        """Runs `work` (an undo that itself needs a request) on a thread of its own; failures are logged."""
        token = object()
        self._undoing[id(token)] = token

        def guarded() -> None:
            try:
                work()
            except UTDStreamException as error:
                _log.warning("undoing a late answer failed: %s", error)
            finally:
                del self._undoing[id(token)]

        start_thread(guarded, "utdstream-rest-undo")

    def wait_for_late(self, deadline: Deadline) -> None:
        """Waits for the answers that nobody waits for, and until they are undone. Blocks: to the deadline."""
        while self._late and not deadline.passed:
            time.sleep(LOOK_S)

    def wait_for_undos(self, deadline: Deadline) -> None:
        """Waits likewise, and for all else that is being taken back."""
        while (self._late or self._undoing) and not deadline.passed:
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Takes no more requests; threads end when what they do is done."""
        self.is_closed.set()
        with self._jobs_lock:
            self._closed = True
            self._condition.notify_all()

    # -- the threads -----------------------------------------------------------------------------

    def _submit(self, job: Job) -> None:
        with self._jobs_lock:
            if self._closed:
                raise SessionClosed("the client was disposed; make a new one")
            self._jobs.append(job)
            if self._idle < len(self._jobs) and self._threads < MAX_THREADS:
                self._threads += 1
                self._number += 1
                threading.Thread(
                    target=self._serve, name=f"utdstream-rest-{self._number}", daemon=True
                ).start()
            self._condition.notify()

    def _next_job(self) -> Job | None:
        """Returns the next job; None when the thread should end (closed, or idle for a while)."""
        with self._jobs_lock:
            self._idle += 1
            try:
                idle_since = time.monotonic()
                while not self._jobs:
                    patience_s = IDLE_S if self._threads > 1 else LAST_IDLE_S
                    left = idle_since + patience_s - time.monotonic()
                    if self._closed or left <= 0:
                        self._threads -= 1
                        return None
                    self._condition.wait(left)
                return self._jobs.popleft()
            finally:
                self._idle -= 1

    def _serve(self) -> None:
        defer("charset_normalizer")
        import requests

        with requests.Session() as session:
            while (job := self._next_job()) is not None:
                if job.abandoned:
                    self._late.pop(id(job), None)
                    continue
                try:
                    job.answer(self._perform(session, job))
                except UTDStreamException as error:
                    job.answer(error)
                except Exception as error:  # noqa: BLE001 - a thread's outermost frame
                    _log.exception("a request ended in an unmapped way")
                    job.answer(EngineUnreachable(f"{job.method} {job.url}: {type(error).__name__}"))
                self._late.pop(id(job), None)
                del job

    def _perform(self, session: requests.Session, job: Job) -> codec.JsonObject:
        try:
            return self._attempt(session, job)
        except EngineUnreachable as error:
            hopeless = error.status_code is not None or isinstance(error, TlsFailed)
            if not job.retry or hopeless or job.deadline.remaining() < RETRY_AFTER_S:
                raise
            time.sleep(RETRY_AFTER_S)  # a REST thread of ours, not the caller
            try:
                return self._attempt(session, job)
            except RateLimited:
                raise error from None  # what came of the first request is still not known

    def _attempt(self, session: requests.Session, job: Job) -> codec.JsonObject:
        import requests

        host = urlsplit(job.url).netloc
        try:
            with session.request(
                job.method,
                job.url,
                headers=dict(job.headers),
                data=job.body,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
                auth=_keep_headers,
                verify=self._verify,
            ) as response:
                self.clock.learn(response.headers)
                raw = self._read(response, job)
        except requests.RequestException as error:
            if only_tls(error, job.url):
                raise TlsFailed(f"asking the engine at {host} failed: {ONLY_TLS}") from _bare(error)
            mapped = map_error(error, host, None if self._verify is True else str(self._verify))
            raise mapped from _bare(error)
        except UTDStreamException:
            raise
        except OSError as error:  # `requests` looks for the file before each connection
            raise TlsFailed(
                f"asking the engine at {host} failed: the CA file {self._verify} cannot be read any more"
            ) from error
        status, headers = response.status_code, response.headers
        del response  # an error that is raised below would keep its connection open as long as it lives
        return self._interpret(status, headers, raw, host)

    def _read(self, response: requests.Response, job: Job) -> bytes:
        import requests
        from urllib3.exceptions import HTTPError

        raw = bytearray()
        late_at: float | None = None
        while True:
            try:  # what is there now: `iter_content` would wait until a whole chunk has trickled in
                chunk = response.raw.read1(65536, decode_content=True)
            except HTTPError as error:
                raise requests.exceptions.ChunkedEncodingError(error) from error
            if not chunk:
                break
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                raise EngineUnreachable(
                    f"the answer of {urlsplit(job.url).netloc} is larger than {MAX_BODY_BYTES} bytes; "
                    "check that base_url points to a UTD Stream engine"
                )
            if job.abandoned:
                late_at = late_at or time.monotonic()
                if job.undo is None or time.monotonic() - late_at > READ_TIMEOUT_S:
                    break  # nobody wants the rest of a body that trickles, or has waited long enough for it
        return bytes(raw)

    @staticmethod
    def _interpret(status: int, headers: Mapping[str, str], raw: bytes, host: str) -> codec.JsonObject:
        body: object = None
        with suppress(ValueError, RecursionError):
            body = json.loads(raw) if raw else {}
        if 200 <= status < 300:
            if isinstance(body, dict):
                return body
            if body is not None:
                return {"data": body}
            kind = headers.get("Content-Type", "no content type")
            raise EngineUnreachable(
                f"{host} answered {status} with {kind} instead of JSON; a proxy or a captive portal may sit "
                "in between, or base_url does not point to an engine"
            )
        if 300 <= status < 400:
            raise EngineUnreachable(
                f"{host} answered with a redirect ({status}); check base_url, or sign in to the "
                "network's portal"
            )
        message, code, retry_after_s = codec.error_message(body)
        if retry_after_s is None:
            header = headers.get("Retry-After", "")
            retry_after_s = float(header) if header.isdecimal() else None
        raise error_from_answer(status, message or f"{host} answered with HTTP {status}", code, retry_after_s)


def _bare(error: BaseException) -> BaseException:
    """Returns `error` without what it would keep alive, and connected, as long as a program keeps it.

    That of urllib3 holds its pool, and that of `requests` the request with its credentials; so do their frames.
    """
    todo: list[object] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
            one.__traceback__ = None
            for held in _HELD & vars(one).keys():
                setattr(one, held, None)
    return error


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Does nothing, as an auth hook: without it a ~/.netrc would replace our bearer."""
    return request


def map_error(error: Exception, host: str, ca_file: str | None = None) -> UTDStreamException:
    """Returns the SDK's error for one of `requests`: one sentence, no key, no traceback of a library."""
    import requests

    table: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.ProxyError, "the proxy in the environment refused: check HTTP_PROXY"),
        (requests.exceptions.ConnectTimeout, "it did not accept a connection in time"),
        (requests.exceptions.ReadTimeout, "it accepted the request and stayed silent"),
        (requests.exceptions.ConnectionError, "it cannot be reached: check base_url, the network and DNS"),
        (requests.exceptions.ChunkedEncodingError, "its answer was cut off"),
        (requests.exceptions.ContentDecodingError, "its answer could not be decoded"),
    )
    if isinstance(error, requests.exceptions.InvalidProxyURL) or "SOCKS" in str(error):
        return EngineUnreachable(
            f"asking the engine at {host} failed: the proxy in the environment cannot be used: correct "
            "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or `pip install PySocks` for a socks:// one"
        )
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return InvalidConfig(f"base_url is not usable: {host}")
    if isinstance(error, requests.exceptions.SSLError):
        return TlsFailed(f"asking the engine at {host} failed: {tls_problem(error, ca_file) or HANDSHAKE}")
    for kind, found in table:
        if isinstance(error, kind):
            return EngineUnreachable(f"asking the engine at {host} failed: {found}")
    return EngineUnreachable(f"asking the engine at {host} failed ({type(error).__name__})")
