"""Starts a program that dies with its parent: `python -I -S leash.py PARENT_PID UID:GID PROGRAM ARGUMENT...`.

Owns: the few lines between fork and exec that must not run in the parent (a `preexec_fn` may
deadlock in a process with threads). Run by its path; imports the standard library only.

The kernel sends SIGKILL when the *thread* that started this process ends, so the supervisor starts all
children from one thread that lives as long as they do. Everything the program writes is private.

`UID:GID` is the user that the program becomes, for good; `-` leaves it that of its parent. It may have as many
descriptors as the system lets it, to `DESCRIPTORS`: mosquitto 2.0.11 counts a client that is no MQTT out twice, so
that its `max_connections` ends nothing, and with 1,024 of them it took nobody in, the engine neither.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
DESCRIPTORS = 65_536


def main() -> None:
    """Becomes the program. Does not return."""
    parent, user, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[3:]
    handle = (
        os.open(program, os.O_RDONLY | os.O_CLOEXEC) if user != "-" else -1
    )  # its folder may be root's alone
    if user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if sys.platform == "linux":
        # Behind the change of the user, which would undo it.
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if user != "-":
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took hold
        os._exit(1)
    os.umask(0o077)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    if user == "-":
        os.execv(program, arguments)
    os.execve(handle, arguments, os.environ)


if __name__ == "__main__":
    main()
