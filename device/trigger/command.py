"""A press by command: `utd-device press`, for tests and for machines without a button.

Owns: `CommandButton` (its thread `utd-command` reads a Unix socket that only this user can write to), `press`
(the other end), the place of the socket.

`press` speaks only to a socket of root's or of its own user, in a folder of the same; and to a service's, whose
user systemd made, in the folder that root made for it below /run. Whoever else put a socket there is not believed.

The socket is also what tells a second program with this identity that it is one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from device.as_root import as_root
from device.config import MachineConfig
from device.errors import AlreadyRunning, TriggerFailed

ANSWER_S = 3.0
RUN = Path("/run")
"""Where the services' folders are; only root can make one."""


def socket_path(config: MachineConfig) -> Path:
    """Returns where the device of this configuration listens: the service's run-time folder, else this user's."""
    name = hashlib.sha256(f"{config.engine.app_id}/{config.device.identity}".encode()).hexdigest()[:16]
    base = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) if base else _own_folder()
    return folder / f"press-{name}"


def _candidates(config: MachineConfig) -> list[Path]:
    """Lists where a press may be listened for: this user's places, and the services' folders."""
    chosen = socket_path(config)
    # The same user has a folder of the session at a desktop, and none in a cron job.
    folders = [RUN / "user" / str(os.getuid()), _own_folder(), RUN / "utd-doorbell", RUN / "utd-kiosk"]
    return [chosen, *(place for folder in folders if (place := folder / chosen.name) != chosen)]


def _own_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"utdstream-{os.getuid()}"


class CommandButton:
    """Listens for `press`.

    Raises: AlreadyRunning at `start` when another program with this identity does, TriggerFailed when its place
    cannot be used.
    """

    def __init__(self, config: MachineConfig) -> None:
        self._path = socket_path(config)
        self._config = config
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.problem: str | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        try:
            listening = None if any(map(_runs_at, _candidates(self._config))) else _listen(self._path)
        except OSError as error:
            self.problem = f"`utd-device press` cannot be listened for at {self._path}: {error}"
            raise TriggerFailed(self.problem) from error
        if listening is None:
            raise AlreadyRunning(
                f"another program runs here as {self._config.device.identity}, and each would take the other's "
                "calls: stop it first (`systemctl stop utd-doorbell` when it is the service), or set another "
                f"[device] identity in {self._config.path}"
            )
        self._socket, self.problem = listening, None

        def read() -> None:
            while True:
                try:
                    message, sender = listening.recvfrom(64)
                except OSError:
                    return
                if self._socket is not listening:  # `stop` has shut it
                    return
                if message == b"press":
                    pressed()
                    if released is not None:
                        released()
                    if sender:  # a sender without an address wants no answer
                        with contextlib.suppress(OSError):
                            listening.sendto(b"pressed", socket.MSG_DONTWAIT, sender)

        self._thread = threading.Thread(target=read, name="utd-command", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        listening, self._socket = self._socket, None
        thread, self._thread = self._thread, None
        if listening is None or thread is None:
            return
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        if thread is not threading.current_thread():
            thread.join(2.0)
        listening.close()
        self._path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket | None:
    """Opens a socket at `path` to which only this user can write; None: a program does there. Raises: OSError."""
    folder = path.parent
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid not in (os.getuid(), 0) or stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise PermissionError(f"others may write to {folder}")
    with _alone_in(
        folder
    ):  # two that start at the same moment do not take each other's socket for a dead one's
        if _is_alive(path):
            return None
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        return listening


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds the lock of the folder. Blocks: while another program binds its socket there."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _runs_at(path: Path) -> bool:
    """Tells whether a program listens there whose word is taken: anyone may make a socket in /tmp."""
    try:
        _check_owner(path)
    except OSError:
        return False
    return _is_alive(path)


def _is_alive(path: Path) -> bool:
    """Tells whether a program listens there, or a killed one left its socket behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        try:
            ours.connect(str(path))
        except OSError:
            return False
        return True


def _check_owner(path: Path) -> None:
    """Looks whose socket it is. Raises: _Foreign when it is not to be spoken to, OSError when there is none."""
    folder, there = path.parent.stat(), path.lstat()
    owners = {0, os.geteuid()}
    if path.parent.parent == RUN:
        owners.add(folder.st_uid)
    for what, found in ((path.parent, folder), (path, there)):
        if found.st_uid not in owners:
            raise _Foreign(
                f"{what} belongs to another user ({found.st_uid}): use that user's `utd-device press`"
            )
    if stat.S_IMODE(folder.st_mode) & 0o022:
        raise _Foreign(f"others may write to {path.parent}: make it mode 0700")
    if not stat.S_ISSOCK(there.st_mode):
        raise _Foreign(f"{path} is no socket: remove it")


class _Foreign(OSError):
    """A socket that somebody else may have put there."""


def press(config: MachineConfig) -> None:
    """Presses the button of the running device. Blocks: to 3 s. Raises: TriggerFailed when none runs."""
    reason: OSError | None = None
    for path in _candidates(config):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            # An address without a file: a service, another user with a /tmp of its own, can answer to it.
            ours.bind("")
            ours.settimeout(ANSWER_S)
            try:
                _check_owner(path)
                ours.sendto(b"press", str(path))
                ours.recv(64)
            except TimeoutError as error:
                raise TriggerFailed(
                    f"the device that listens at {path} did not answer within {ANSWER_S:.0f} s; "
                    "its log says what it does (`journalctl -u utd-doorbell`)"
                ) from error
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    reason = reason or error
                continue
            return
    if isinstance(reason, _Foreign):
        raise TriggerFailed(f"the press was told to no one: {reason}") from reason
    if isinstance(reason, PermissionError):
        raise TriggerFailed(f"the doorbell runs as another user: use `{as_root('press')}`") from reason
    raise TriggerFailed(
        f"nothing is running for {config.device.identity} with this configuration; start it with "
        f"`utd-device doorbell --config {config.path}`, or `systemctl start utd-doorbell`"
    ) from reason
