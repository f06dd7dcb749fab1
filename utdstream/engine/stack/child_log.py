"""The log of one child: a file, or a pipe that is read here into files that do not grow without end.

Owns: the pipe, its thread (`utdstream-log-PART`), the files. What happens to a line is decided in `log_lines`.
Imports the standard library and its neighbours.

1. A file that is full becomes `.1`, the one before `.2`; the oldest is deleted.
2. The child is never held up by the disk's being full: what cannot be written is counted, and said where it is
   missing. Only a thread that is not scheduled at all (this process is stopped) holds it up, after a megabyte.
3. What a child wrote before it died has been read when `end` returns; the thread has ended then.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import threading
import time
from itertools import pairwise
from pathlib import Path

from utdstream.engine.stack.log_lines import Lines, Repeats, without_tokens
from utdstream.engine.stack.ports import Part
from utdstream.engine.stack.settings import LogsSection, StackSettings

_log = logging.getLogger(__name__)

_TAIL_BYTES = 1500
_PIECE_BYTES = 64 * 1024
_PIPE_BYTES = 1024 * 1024
_PIECES_AT_THE_END = 2 * _PIPE_BYTES // _PIECE_BYTES
"""Past these, what writes is another process that the dead one left behind."""
_DISK_GRACE_S = 2.0


class PlainLog:
    """A file that holds every line as soon as it is written, whatever its size: for tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = 0

    def open(self) -> int:
        """The descriptor that a new process writes to; the caller closes it when the process has it."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._from = os.lseek(handle, 0, os.SEEK_END)
        return handle

    def end(self) -> None:
        """The process has ended."""

    def tail(self) -> str:
        """The last that the process wrote."""
        try:
            with self.path.open("rb") as file:
                begin = max(self._from, self.path.stat().st_size - _TAIL_BYTES)
                file.seek(begin)
                return _told(file.read(), is_cut=begin > self._from)
        except OSError:
            return ""


class BoundedLog:
    """Files of a bounded size, without the repetitions. `open` and `end`: one thread; `tail`: any."""

    def __init__(self, path: Path, limits: LogsSection) -> None:
        self.path = path
        self._alike = limits.alike_a_minute
        self._files = _RotatedFiles(path, limits)
        self._reader: threading.Thread | None = None
        self._wake = -1
        self._last = b""

    def open(self) -> int:
        """The descriptor that a new process writes to; the caller closes it when the process has it."""
        self.end()
        source, sink = os.pipe()
        woken, self._wake = os.pipe()
        os.set_blocking(source, False)
        with contextlib.suppress(OSError):  # this user has many pipes: a smaller one does too
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._last = b""
        self._reader = threading.Thread(
            target=self._read, args=(source, woken), name=f"utdstream-log-{self.path.stem}", daemon=True
        )
        self._reader.start()
        return sink

    def end(self) -> None:
        """The process has ended: all that it wrote is read. Blocks: 2 s at most, when the disk hangs."""
        reader, self._reader = self._reader, None
        if reader is not None:
            os.close(self._wake)
            reader.join(_DISK_GRACE_S)

    def tail(self) -> str:
        """The last that the process wrote, repetitions too."""
        return _told(self._last, is_cut=len(self._last) == _TAIL_BYTES)

    # --- the reader's thread

    def _read(self, source: int, woken: int) -> None:
        lines, repeats = Lines(), Repeats(self._alike)
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(woken, select.POLLIN)
        pieces_left = _PIECES_AT_THE_END
        self._files.write([])  # the file is there from the start
        try:
            while pieces_left:
                due_at = repeats.due_at
                pause_s = None if due_at is None else max(0.0, due_at - time.monotonic())
                is_over = woken in dict(poll.poll(None if pause_s is None else 1000 * pause_s + 1))
                pieces_left -= is_over
                try:
                    piece = os.read(source, _PIECE_BYTES)
                except BlockingIOError:
                    if is_over:
                        break
                    self._files.write(repeats.due(time.monotonic()))
                    continue
                if not piece:
                    break
                self._last = (self._last + piece)[-_TAIL_BYTES:]
                now = time.monotonic()
                said = repeats.due(now)
                for line in lines.feed(piece):
                    said += repeats.take(line, now)
                self._files.write(said)
            now = time.monotonic()
            rest = [said for line in lines.end() for said in repeats.take(line, now)]
            self._files.write(rest + repeats.end(now))
        finally:
            os.close(source)
            os.close(woken)
            self._files.close()


def _told(tail: bytes, *, is_cut: bool) -> str:
    """The end of a log as it may stand in a message: without tokens, and without what is left of a line."""
    whole = tail.partition(b"\n")[2] if is_cut else tail
    return without_tokens(whole).decode(errors="replace").strip()


class _RotatedFiles:
    """Writes lines; what cannot be written is counted. Any thread."""

    def __init__(self, path: Path, limits: LogsSection) -> None:
        self._path = path
        self._files = limits.files
        self._most_bytes = limits.file_kb * 1000
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._size = 0
        self._missing: int | None = None
        """The lines that could not be written; None while all can."""

    def write(self, lines: list[bytes]) -> None:
        """Appends the lines, in new files as these are full. Blocks for as long as the disk does."""
        with self._lock:
            if not lines and self._handle is not None:
                return
            try:
                if self._missing:
                    self._append([b"", b"... %d lines or fewer are missing here" % self._missing])
                self._append(lines)
            except OSError as error:
                self._close()
                if self._missing is None:
                    _log.warning(
                        "%s cannot be written (%s); its lines are counted", self._path, error.strerror
                    )
                self._missing = (self._missing or 0) + len(lines)
                return
            if self._missing is not None:
                _log.info("%s is written again, without about %d lines", self._path, self._missing)
                self._missing = None

    def close(self) -> None:
        """The next line opens the file again."""
        with self._lock:
            self._close()

    def _append(self, lines: list[bytes]) -> None:
        self._open()
        batch = bytearray()
        for line in lines:
            if self._size + len(batch) + len(line) >= self._most_bytes:
                self._put(batch)
                self._rotate()
                self._open()
            batch += line + b"\n"
        self._put(batch)

    def _open(self) -> None:
        if self._handle is None:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.lseek(self._handle, 0, os.SEEK_END)

    def _put(self, batch: bytearray) -> None:
        while batch and self._handle is not None:
            written = os.write(self._handle, batch)
            self._size += written
            del batch[:written]

    def _rotate(self) -> None:
        self._close()
        older = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._files))]
        older[-1].unlink(missing_ok=True)
        for old, new in reversed(list(pairwise(older))):
            with contextlib.suppress(FileNotFoundError):
                old.replace(new)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def log_of(settings: StackSettings, part: Part) -> BoundedLog | PlainLog:
    """The log of this part, as its stack wants it."""
    path = settings.log(part)
    return PlainLog(path) if settings.logs is None else BoundedLog(path, settings.logs)
