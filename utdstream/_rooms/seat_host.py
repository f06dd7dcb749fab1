"""What the host of an audio room does: sets its seats up, answers requests, moderates who sits.

Owns: `SeatHost`, that part of `UTDAudioRoomSession`. Threads: as `_rooms/session`.
"""

from __future__ import annotations

from utdstream._rooms.followed import Followed
from utdstream._rooms.session import RoomSession
from utdstream._threads.deadline import Deadline
from utdstream.errors import InvalidConfig
from utdstream.models import SeatGrid


class SeatHost(RoomSession):
    """The host's operations; the engine refuses them to others."""

    _grid: Followed[SeatGrid]

    def setup_seats(
        self,
        *,
        seat_count: int | None = None,
        seat_mode: str | None = None,
        mode_id: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, object]:
        """Sets the grid up, as the host (1 to 100 seats, mode free or request); returns the engine's raw answer.

        Blocks: to the deadline (default 12 s). Raises: PermissionDenied, InvalidRequest, EngineUnreachable,
        DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "setup_seats")
        answer = self._rooms.setup_seats(
            deadline, seat_count=seat_count, seat_mode=seat_mode, mode_id=mode_id
        )
        self._grid.refresh(deadline)
        return dict(answer)

    def get_seats(self, *, timeout: float | None = None) -> dict[str, object]:
        """Returns the engine's raw grid; `seats` holds it typed.

        Blocks: to the deadline (default 12 s). Raises: NotFound, EngineUnreachable, DeadlineExceeded.
        """
        return dict(self._grid.refresh(Deadline(timeout, self._config.set_timeout_s, "get_seats")))

    def approve_speaker(self, request_id: int, *, timeout: float | None = None) -> None:
        """Gives the listener that asked a seat, as the host.

        Blocks: to the deadline (default 12 s). Raises: NotFound, Conflict when no seat is free, PermissionDenied.
        """
        self._answer_request(request_id, "approve", timeout)

    def reject_speaker(self, id: int, *, timeout: float | None = None) -> None:
        """Refuses a listener's request, as the host.

        Blocks: to the deadline (default 12 s). Raises: NotFound, PermissionDenied.
        """
        self._answer_request(id, "reject", timeout)

    def _answer_request(self, request_id: int, action: str, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.set_timeout_s, action)
        if isinstance(request_id, bool) or not isinstance(request_id, int):
            raise InvalidConfig(f"{action}: the id of a request is a number, not {request_id!r}")
        self._rooms.answer_request(request_id, action, deadline)

    def invite_to_speak(
        self, identity: str, *, seat_index: int | None = None, timeout: float | None = None
    ) -> None:
        """Invites a listener, as the host, to a certain seat or the first free one.

        Blocks: to the deadline (default 12 s). Raises: NotFound, Conflict, PermissionDenied.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "invite_to_speak")
        self._rooms.invite_to_speak(identity, seat_index, deadline)

    def kick_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Empties a seat, as the host; its speaker is a listener again.

        Blocks: to the deadline (default 12 s). Raises: NotFound, Conflict when it is empty, PermissionDenied.
        """
        self._seat_action("kick", index, timeout)

    def lock_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Closes a seat, as the host; it is emptied first.

        Blocks: to the deadline (default 12 s). Raises: NotFound, PermissionDenied.
        """
        self._seat_action("lock", index, timeout)

    def unlock_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Opens a locked seat again, as the host.

        Blocks: to the deadline (default 12 s). Raises: NotFound, PermissionDenied.
        """
        self._seat_action("unlock", index, timeout)

    def mute_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Mutes the speaker on a seat, as the host, on the media server: a changed client cannot ignore it.

        Blocks: to the deadline (default 12 s).
        Raises: NotFound, Conflict when the seat is empty, PermissionDenied.
        """
        self._seat_action("mute", index, timeout)

    def unmute_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Lets the speaker on a seat unmute again, as the host.

        Blocks: to the deadline (default 12 s).
        Raises: NotFound, Conflict when the seat is empty, PermissionDenied.
        """
        self._seat_action("unmute", index, timeout)

    def _seat_action(self, action: str, index: int, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.set_timeout_s, f"{action}_seat")
        self._check_index(f"{action}_seat", index)
        self._rooms.seat(index, action, deadline)

    @staticmethod
    def _check_index(doing: str, index: int) -> None:
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise InvalidConfig(f"{doing}: a seat is a number from 0, not {index!r}")
