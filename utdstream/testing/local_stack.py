"""`LocalStack`: the real livekit-server, broker and engine on this machine, for tests and trials.

Owns: a private folder that lives as long as the stack, and the names under which a test reaches it.
The processes are the engine's supervisor's; nothing here is a mock. Imports `utdstream.engine`, late.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from utdstream._wire import codec, routes
from utdstream.errors import EngineUnreachable, SessionClosed, UsageError, error_from_answer
from utdstream.models import MqttLogin

if TYPE_CHECKING:
    from utdstream.engine.stack.ports import Part
    from utdstream.engine.stack.settings import StackSettings
    from utdstream.engine.stack.supervisor import Supervisor

_PREFIX = "utdstream-stack-"
_LOCK = ".lock"
_ABANDONED_AFTER_S = 60.0


class LocalStack:
    """The real servers on free loopback ports, with random secrets; a context manager.

    `project` overrides settings of the project (for example `{"call_ring_timeout_s": 1.5}`). Rate limits are
    off unless `limits` sets them (`{"enabled": True, "requests_per_minute": 10}`). The folder with the
    secrets is deleted at the end; the programs' logs are copied to `log_dir` first when one is given. The
    engine logs at `log_level`; a benchmark takes "info", which is what a service has.
    The open key mints for any identity, as on every loopback; `open_key=False` switches it off, and `issue_key`
    makes a key for each device. `authority` names a folder, and all of the stack speaks TLS: its authority is made
    there when there is none, and `ca_file` is what clients take (a process can have one: name the same folder for
    all its stacks). Nothing is left behind, also when this process is killed.

    Blocks: entering about 1 s, 20 s at most; `close` 9 s at most.
    Thread: all methods from any thread.
    """

    def __init__(
        self,
        *,
        project: Mapping[str, object] | None = None,
        limits: Mapping[str, object] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        log_level: str = "debug",
        open_key: bool | None = None,
        authority: str | os.PathLike[str] | None = None,
    ) -> None:
        self._authority = Path(authority) if authority is not None else None
        self._log_level = log_level
        self._project = dict(project or {}) if open_key is None else {**(project or {}), "open_key": open_key}
        self._limits = dict(limits or {})
        self._log_dir = Path(log_dir) if log_dir is not None else None
        self._lock = threading.Lock()
        self._supervisor: Supervisor | None = None
        self._folder: Path | None = None
        self._folder_lock: int | None = None
        self._closed = False

    def __enter__(self) -> LocalStack:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        supervisor = self._supervisor
        if supervisor is None:
            return f"<LocalStack {'closed' if self._closed else 'not started'}>"
        return f"<LocalStack {supervisor.settings.base_url} app_id={self.app_id}>"

    # --- where it is

    @property
    def is_started(self) -> bool:
        """Whether it was entered, and not closed since."""
        return self._supervisor is not None

    @property
    def base_url(self) -> str:
        """The engine, without a path: what `UTDStreamClient(base_url=...)` takes."""
        return self._settings.base_url

    @property
    def token_base_url(self) -> str:
        """The same engine: it serves tokens too."""
        return self.base_url

    @property
    def app_id(self) -> str:
        """The project's public number."""
        return self._settings.project.app_id

    @property
    def app_key(self) -> str:
        """The open key: it mints for any identity, unless the stack was made with `open_key=False`."""
        return self._settings.project.app_key

    @property
    def app_secret(self) -> str:
        """The server's key: it may do everything, in anybody's name."""
        return self._settings.project.app_secret

    @property
    def livekit_url(self) -> str:
        """livekit-server, as ws://host:port."""
        return self._settings.livekit_url

    @property
    def livekit_api_key(self) -> str:
        """The name of livekit-server's key."""
        return self._settings.secrets.livekit_api_key

    @property
    def livekit_api_secret(self) -> str:
        """The key that signs LiveKit tokens."""
        return self._settings.secrets.livekit_api_secret

    @property
    def ca_file(self) -> Path | None:
        """What clients trust a stack with TLS by; None without."""
        return self._settings.ca_file

    @property
    def mqtt_host(self) -> str:
        """The broker's address."""
        return self._settings.address

    @property
    def mqtt_port(self) -> int:
        """The broker's port."""
        port = self._settings.mqtt_port
        assert port is not None  # filled in by the start
        return port

    @property
    def media_port(self) -> int:
        """livekit-server's UDP port for media."""
        port = self._settings.ports.livekit_udp
        assert port is not None  # filled in by the start
        return port

    def mqtt_login(self, identity: str) -> MqttLogin:
        """A broker login for `identity`, made by the engine now. Blocks. Raises: EngineUnreachable."""
        answer = self._ask("POST", routes.AUTH_SESSION, {"identity": identity})
        login = codec.parse_session(answer).mqtt
        if login is None:
            raise EngineUnreachable(f"the engine gave {identity!r} no broker login; see logs('engine')")
        return login

    def issue_key(
        self,
        identity: str,
        *,
        may_host: bool = False,
        rooms: Sequence[str] = ("*",),
        display_name: str | None = None,
        allow_break_in: Sequence[str] = (),
    ) -> str:
        """A new app key for `identity`, or for all that begin alike (`kiosk-*`): what `UTDStreamClient` takes.

        `may_host`: it makes the rooms it enters. `rooms`: those it enters, by name or beginning. `display_name`:
        how others see its holder. `allow_break_in`: the callers that ring at it also while
        it talks. Blocks. Raises: EngineUnreachable, InvalidRequest.
        """
        wanted = {
            "identity": identity,
            "may_host": may_host,
            "rooms": list(rooms),
            "display_name": display_name,
            "allow_break_in": list(allow_break_in),
        }
        return str(self._ask("POST", routes.KEYS, wanted)["app_key"])

    # --- what is done to it

    def stop(self, part: Part) -> None:
        """Stops "livekit", "engine", "mqtt" or "proxy" in good order, until `start`. Blocks: some seconds."""
        self._running().stop_part(part)

    def kill(self, part: Part) -> None:
        """Kills the part (SIGKILL); it stays down until `start`."""
        self._running().kill_part(part)

    def start(self, part: Part, *, timeout: float = 20.0) -> None:
        """Starts the part again, on the same port with the same secrets; returns when it answers.

        Blocks: to `timeout`. Raises: UTDStreamException (StackError) with the end of its log when it does
        not answer by then, SessionClosed when the stack is not running.
        """
        self._running().start_part(part, timeout=timeout)

    def is_running(self, part: Part) -> bool:
        """Whether the part has a process."""
        return self._running().is_running(part)

    def pid(self, part: Part) -> int | None:
        """The part's process id; None while it is down."""
        return self._running().pid(part)

    @contextlib.contextmanager
    def frozen(self, part: Part) -> Iterator[None]:
        """Stands a part still (SIGSTOP): the kernel takes connections for it, and nobody answers.

        Blocks: no time. Raises: UsageError when it is down.
        """
        pid = self.pid(part)
        if pid is None:
            raise UsageError(f"frozen: {part} is down; start it first")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            if self.pid(part) == pid:
                os.kill(pid, signal.SIGCONT)

    def logs(self, part: Part) -> str:
        """All that the part has logged so far: every line, repeated ones too."""
        try:
            return self._settings.log(part).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def open_behind(self, address: str) -> None:
        """Starts it behind a relay that has the same ports on this address of this machine: devices are told that.

        What `with` does otherwise; `Faults` does it. Blocks: about 1 s, 20 s at most.
        """
        self._open(address)

    def close(self) -> None:
        """No process, port or file is left when this returns. Idempotent."""
        with self._lock:
            self._closed = True
            supervisor, self._supervisor = self._supervisor, None
            folder, self._folder = self._folder, None
            folder_lock, self._folder_lock = self._folder_lock, None
        atexit.unregister(self.close)
        if supervisor is not None:
            supervisor.stop()
        if folder is not None:
            if self._log_dir is not None:
                self._keep_logs(folder)
            shutil.rmtree(folder, ignore_errors=True)
        if folder_lock is not None:
            os.close(folder_lock)

    # --- behind it

    def _open(self, relayed_at: str | None = None) -> None:
        from utdstream.engine.config import LimitsSection
        from utdstream.engine.stack.ports import LOOPBACK
        from utdstream.engine.stack.settings import StackSettings, TlsSection, new_project
        from utdstream.engine.stack.supervisor import Supervisor
        from utdstream.settings import changed

        with self._lock:
            if self._closed or self._folder is not None:
                raise SessionClosed("this LocalStack was started before; make a new one")
            project = changed(new_project(), self._project, "LocalStack: [project]")
            limits = changed(LimitsSection(enabled=False), self._limits, "LocalStack: [limits]")
            _sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._folder_lock = _lock(self._folder)
            settings = StackSettings(
                folder=self._folder,
                address=relayed_at or LOOPBACK,
                project=project,
                limits=limits,
                logs=None,
                log_level=self._log_level,
                tls=TlsSection(enabled=self._authority is not None, authority=self._authority),
            )
            self._supervisor = Supervisor(settings)
        atexit.register(self.close)
        try:
            self._supervisor.start()
        except BaseException:
            self.close()
            raise

    def _running(self) -> Supervisor:
        supervisor = self._supervisor
        if supervisor is None:
            raise SessionClosed("this LocalStack is not running; use it in a with statement")
        return supervisor

    @property
    def _settings(self) -> StackSettings:
        return self._running().settings

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> codec.JsonObject:
        """What the engine answers to this stack as its own server."""
        settings = self._settings
        # Not urllib: a proxy in the environment must never see a loopback request.
        connection = http.client.HTTPConnection(settings.clear_host, settings.ports.engine, timeout=10.0)
        try:
            connection.request(
                method,
                path,
                body=json.dumps(body or {}),
                headers={
                    "Content-Type": "application/json",
                    routes.HEADER_APP_ID: self.app_id,
                    routes.HEADER_APP_SECRET: self.app_secret,
                },
            )
            answer = connection.getresponse()
            content, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachable(
                f"the engine at {settings.base_url} gave no answer to {method} {path} ({error}); "
                "see logs('engine')"
            ) from error
        finally:
            connection.close()
        parsed = codec.json_object(content)
        if status not in (200, 201) or parsed is None:
            message, code, retry_after_s = codec.error_message(parsed)
            raise error_from_answer(status, message or f"{method} {path}: HTTP {status}", code, retry_after_s)
        return parsed

    def _keep_logs(self, folder: Path) -> None:
        assert self._log_dir is not None
        with contextlib.suppress(OSError):
            self._log_dir.mkdir(parents=True, exist_ok=True)
            for log in (folder / "logs").glob("*.log"):
                shutil.copy(log, self._log_dir / log.name)


def _lock(folder: Path) -> int:
    """Held while the stack lives, so that another one knows this folder is in use."""
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _sweep() -> None:
    """Delete the folders of stacks whose process was killed: they hold secrets."""
    for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _ABANDONED_AFTER_S:
                continue
            handle = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
