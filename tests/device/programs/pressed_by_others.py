"""A device that runs as another user, as a service does: it waits for `utd-device press`.

Started by root with the path of a configuration. It imports first: the other user may not read this folder.
"""

from __future__ import annotations

import os
import sys

from device.config import load
from device.trigger.command import CommandButton

NOBODY = 65534


def main() -> None:
    button = CommandButton(load(sys.argv[1]))
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    button.start(lambda: print("pressed", flush=True))
    print("ready", flush=True)
    sys.stdin.read()
    button.stop()


if __name__ == "__main__":
    main()
