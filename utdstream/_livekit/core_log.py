"""What the native core writes to the log, and what of it is passed on.

Owns: `CoreLogFilter`, for the logger `livekit`. Any thread.
"""

from __future__ import annotations

import logging
import re


class CoreLogFilter(logging.Filter):
    """Masks join tokens in the native core's log lines (rust-sdks #219 printed them), and drops the ones
    that belong to every healthy call."""

    _token = re.compile(r"(access_token=|eyJ)[A-Za-z0-9._%-]+")
    _ordinary = (
        "Attempted to drop unknown FFI handle",  # a track's handle went with its publication
        "could not find publication to remove",  # unpublished in a room that has just ended
        "dynacast: local track publication not found",  # unpublished while its viewers changed
        "Failed to set degradation preference",  # at every video publish of 1.2.1
        "local offer sdp: Called in wrong state: closed",  # hung up while something was being negotiated
        "peer connection is closed, cannot create offer",  # hung up while a track was being added
        "closed unexpectedly",  # data channels of a room that the server ended; `connection` tells it
    )

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if any(words in text for words in self._ordinary):
            return False
        if "access_token=" in text or "eyJ" in text:
            record.msg, record.args = self._token.sub(r"\1***", text), ()
        return True
