"""Set-up, first step: find a Python that can run the rest, or say in one sentence what is missing.

Owns: the gate. Parses and runs on Python 3.6 and newer, so an old interpreter gets a sentence and no
traceback. The work itself is in `install.py`. Run it with `make setup`.
"""

import os
import platform
import struct
import sys

MINIMUM = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
MACHINES = ("x86_64", "amd64", "aarch64", "arm64")


def refusal(version, bits, machine, system):
    """Why this interpreter on this machine cannot run utdstream, as a sentence; empty when it can."""
    if system != "Linux":
        return f"utdstream is set up on Linux; this is {system}."
    if bits != 64 or machine.lower() not in MACHINES:
        return (
            "utdstream needs a 64-bit system on x86-64 or aarch64, because livekit has no 32-bit build; "
            f"this is a {bits}-bit Python on {machine}: install the 64-bit system."
        )
    if tuple(version[:2]) < MINIMUM:
        found = ".".join(str(number) for number in version[:2])
        return (
            f"utdstream needs Python 3.11 or newer; this is {found}: install one, or name it with PYTHON=..."
        )
    return ""


def newer_python(path):
    """The newest sufficient interpreter on `path`, or None."""
    for name in NEWER:
        for folder in path.split(os.pathsep):
            program = os.path.join(folder, name)
            if folder and os.path.isfile(program) and os.access(program, os.X_OK):
                return program
    return None


def main():
    """Hand over to `install.py`, with a newer interpreter when this one is too old."""
    here = os.path.dirname(os.path.abspath(__file__))
    bits = struct.calcsize("P") * 8
    reason = refusal(sys.version_info, bits, platform.machine(), platform.system())
    if reason and sys.version_info[:2] < MINIMUM:
        other = newer_python(os.environ.get("PATH", ""))
        if other is not None:
            os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])  # noqa: RUF005 - Python 3.6
    if reason:
        sys.stderr.write(f"setup: {reason}\n")
        return 1
    sys.path.insert(0, here)
    import install

    return install.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
