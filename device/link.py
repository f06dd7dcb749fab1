"""The engine, from a machine's view: signed in for ever, listening for calls, and what is wrong in plain words.

Owns: the client, `utd-connect`. Threads: `client()` and `problem` from any; callbacks run on the inbox's lane.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from device.config import MachineConfig
from device.service import Service
from utdstream import (
    AuthenticationFailed,
    Change,
    ClientConfig,
    Devices,
    EngineUnreachable,
    IncomingCall,
    IncomingCallInbox,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    TlsFailed,
    UTDStreamClient,
    UTDStreamException,
)
from utdstream.backoff import Backoff
from utdstream.trust import worded_for

_log = logging.getLogger(__name__)

RETRY = Backoff(first_s=1.0, most_s=15.0)
REFUSED_S = 30.0
SIGN_IN_S = 6.0
BROKER_GRACE_S = 3.0
"""A connection to the broker that is made, or made anew, within this is no news."""


def in_settings(sentence: str, config: MachineConfig) -> str:
    """Returns a sentence of the SDK in the words of the configuration."""
    return worded_for(sentence, f"[engine] ca_file in {config.path}")


def refusal_remedy(config: MachineConfig, error: UTDStreamException) -> str:
    """Says what to do when the engine lets this device in under no circumstances."""
    identity = config.device.identity
    new_key = f"on the engine's machine `utdstream engine key add {shlex.quote(identity)}` makes one for it"
    if error.code == "key_revoked":
        return f"give {identity} a new app key: {new_key}"
    if error.is_banned:
        return f"{identity} is banned: the engine's owner lifts it"
    if isinstance(error, PermissionDenied):
        return f"give {identity} an app key of its own, or set [device] identity to the key's: {new_key}"
    if isinstance(error, InvalidRequest):
        return f"change [device] identity in {config.path}"
    return "check [engine] app_id and the app key: both are of the engine at this address"


class Link:
    """Signs in, again and again until it works, and opens the inbox."""

    def __init__(
        self,
        config: MachineConfig,
        devices: Devices,
        *,
        ringing: Callable[[IncomingCall], None] | None = None,
        cancelled: Callable[[str], None] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self.devices = replace(devices)
        self._client = UTDStreamClient(
            config.engine.app_id,
            config.app_key,
            base_url=config.engine.base_url,
            devices=devices,
            config=ClientConfig(ca_file=config.engine.ca_file, preload=config.device.preload),
        )
        self._ringing, self._cancelled, self._changed = ringing, cancelled, changed
        self._stop = threading.Event()
        self._inbox: IncomingCallInbox | None = None
        self._lost_at: float | None = None
        """Since when there is no connection to the broker; None while there is one, or its end is not told yet."""
        self._signed_in = False
        self._doubted = threading.Event()
        self._problem: str | None
        self._problem = self._absent = f"waiting for the engine at {config.engine.base_url}"
        self._thread: threading.Thread | None = None

    def start(self, service: Service) -> None:
        """Begins. `service` is told READY once calls can arrive, or the engine could not be reached."""
        self._client.errors.subscribe(lambda error: _log.warning("%s: %s", error.source, error.error))
        self._thread = threading.Thread(target=self._run, args=(service,), name="utd-connect", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why no call can be made or come; None when all is well."""
        if self._problem is not None:
            return self._problem
        inbox = self._inbox
        if inbox is None:
            return None
        lost_at = self._lost_at
        if inbox.connected.value or lost_at is None or time.monotonic() < lost_at + BROKER_GRACE_S:
            return None
        why = inbox.problem
        found = "there is no connection to the message broker"
        if why is not None:
            found += f" ({in_settings(why, self._config)})"
        return f"ready, but {found}: calls to this device come late"

    @property
    def is_well(self) -> bool:
        """Whether nothing is missing; `changed` is told when anything is."""
        inbox = self._inbox
        return self._signed_in and self._problem is None and (inbox is None or inbox.connected.value)

    def client(self) -> UTDStreamClient:
        """Returns the client, once it has signed in. Raises: EngineUnreachable before the first time."""
        if not self._signed_in:
            raise EngineUnreachable(self._problem or self._absent)
        return self._client

    def doubt(self) -> None:
        """Notes that the engine could not be reached: `problem` says so until it is back. Does not block."""
        self._doubted.set()

    def close(self) -> None:
        """Ends the client, and with it calls and inbox."""
        self._stop.set()
        self._doubted.set()
        self._client.dispose(timeout=1.5)

    def _run(self, service: Service) -> None:
        while not self._stop.is_set():
            self._sign_in(service)
            self._doubted.clear()
            if not self._stop.is_set():
                self._doubted.wait()

    def _sign_in(self, service: Service) -> None:
        """Signs in until it works, or until the end."""
        failures = 0
        while not self._stop.is_set():
            pause_s = RETRY.pause_s(failures)
            try:
                self._client.authenticate(
                    identity=self._config.device.identity, name=self._config.device.name, timeout=SIGN_IN_S
                )
                self._listen()
            except (AuthenticationFailed, PermissionDenied) as error:
                pause_s = REFUSED_S
                self._problem = f"{self._refused(error)}; {refusal_remedy(self._config, error)}"
            except InvalidRequest as error:  # an identity that is none
                pause_s = REFUSED_S
                self._problem = self._refused(error)
            except RateLimited as error:
                pause_s = max(pause_s, error.retry_after_s or 0.0)
                self._problem = self._refused(error)
            except TlsFailed as error:  # no waiting mends it: somebody must read what to do
                self._problem = in_settings(error.message, self._config)
            except UTDStreamException as error:
                self._problem = self._absent
                _log.debug("signing in: %s", error)
            else:
                first, self._signed_in, self._problem = not self._signed_in, True, None
                if first:
                    service.ready("ready")
                self._changed()
                return
            failures += 1
            if not self._signed_in:
                service.ready(self._problem)
            self._changed()
            self._stop.wait(pause_s)

    def _refused(self, error: UTDStreamException) -> str:
        return f"the engine at {self._config.engine.base_url} refuses this device: {error.message}"

    def _listen(self) -> None:
        ringing, cancelled = self._ringing, self._cancelled
        if ringing is None or self._inbox is not None:
            return
        inbox = self._client.incoming_calls()
        self._lost_at = time.monotonic()
        inbox.ringing.subscribe(ringing)
        inbox.connected.subscribe(self._take_connection)
        if cancelled is not None:
            inbox.cancelled.subscribe(lambda gone: cancelled(gone.call_id))
        self._inbox = inbox

    def _take_connection(self, change: Change[bool]) -> None:
        self._lost_at = None if change.new else time.monotonic()
        self._changed()
