"""What several sessions ask of one camera, as the one thing that suits them all.

Owns: `CameraVotes`, one a camera in use, and `Vote`, one a session. Threads: any; the camera is told by whichever
thread changed a vote, which must not wait.

1. It rests only while every session lets it; one that joins has viewers until its vote says otherwise. Only a
   session that knows it for a camera that may rest (`WatchedCamera`) votes for that.
2. Its bitrate is the least that a session whose pictures are watched can carry.
3. It is told what differs from what it was told last, in the order of the votes, by one thread at a time. No lock
   is held while it is told: a camera may deliver a frame, and with it another vote, in the middle.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import cast

from utdstream.media import Camera, WatchedCamera

_log = logging.getLogger(__name__)


class Vote:
    """What one session asks of the camera. Written under the lock of the votes."""

    __slots__ = ("bitrate_bps", "watched")

    def __init__(self) -> None:
        self.watched = True
        self.bitrate_bps = 0
        """0: any."""

    def take(self, *, watched: bool | None, bitrate_bps: int | None) -> None:
        """Changes what is not None."""
        self.watched = self.watched if watched is None else watched
        self.bitrate_bps = self.bitrate_bps if bitrate_bps is None else bitrate_bps


class CameraVotes:
    """The votes on one camera. Any thread."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._lock = threading.Lock()  # held for reads and writes of these fields only
        self._votes: list[Vote] = []
        self._running = False
        self._told_watched = True
        self._told_bitrate_bps = 0
        self._changed = False
        self._telling = False

    def begin(self) -> None:
        """Says that the camera has started: it is watched and knows no bitrate. It is told nothing before."""
        with self._lock:
            self._running = True
            self._told_watched, self._told_bitrate_bps = True, 0
        self._tell_quietly()

    def end(self) -> None:
        """Says that the camera stops."""
        with self._lock:
            self._running = False

    def join(self, vote: Vote) -> None:
        """Counts `vote` from now on."""
        with self._lock:
            self._votes.append(vote)
        self._tell_quietly()

    def leave(self, vote: Vote) -> None:
        """Counts it no longer; does nothing when it was not counted."""
        with self._lock:
            self._votes = [other for other in self._votes if other is not vote]
        self._tell_quietly()

    def change(self, vote: Vote, *, watched: bool | None = None, bitrate_bps: int | None = None) -> None:
        """Changes a vote, whether it counts yet or not. Raises: what the driver raises."""
        with self._lock:
            vote.take(watched=watched, bitrate_bps=bitrate_bps)
        self._tell()

    def _tell_quietly(self) -> None:
        try:
            self._tell()
        except Exception:  # noqa: BLE001 - a driver's fault; whose vote it was is not to blame
            _log.exception("the camera could not be told what its sessions ask of it")

    def _tell(self) -> None:
        with self._lock:
            self._changed = True
            if self._telling:
                return  # that thread looks again
            self._telling = True
        failure: Exception | None = None
        while acts := self._differences():
            for act in acts:
                try:
                    act()
                except Exception as error:  # noqa: BLE001 - a driver's fault; raised when all is told
                    failure = failure or error
        if failure is not None:
            raise failure

    def _differences(self) -> list[Callable[[], None]]:
        """Returns what the camera must be told now, as told; nothing ends the telling."""
        with self._lock:
            acts: list[Callable[[], None]] = []
            if self._changed and self._running and self._votes:
                watched = any(vote.watched for vote in self._votes)
                if watched is not self._told_watched:
                    self._told_watched = watched
                    acts.append(lambda: cast(WatchedCamera, self._camera).set_watched(watched))
                bitrate_bps = self._least_bitrate_bps()
                if bitrate_bps not in (0, self._told_bitrate_bps):
                    self._told_bitrate_bps = bitrate_bps
                    acts.append(lambda: self._camera.set_bitrate(bitrate_bps))
            self._changed = False
            self._telling = bool(acts)
        return acts

    def _least_bitrate_bps(self) -> int:
        known = [vote for vote in self._votes if vote.bitrate_bps > 0]
        return min((vote.bitrate_bps for vote in [v for v in known if v.watched] or known), default=0)
