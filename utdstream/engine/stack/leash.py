"""Starts a program that dies with its parent: `python -I -S leash.py PARENT_PID PROGRAM ARGUMENT...`.

Owns: the few lines between fork and exec that must not run in the parent (a `preexec_fn` may
deadlock in a process with threads). Run by its path; imports the standard library only.

The kernel sends SIGKILL when the *thread* that started this process ends, so the supervisor starts all
children from one thread that lives as long as they do. Everything the program writes is private.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Becomes the program. Does not return."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took hold
        os._exit(1)
    os.umask(0o077)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
