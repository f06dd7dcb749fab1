"""Runs the quick tests on another Python than the one of `.venv`, when there is another.

`make test-python`, and a step of CI. Owns: the search for it. Looks for `python3.14` down to `python3.11` on PATH
and in pyenv's folder; one that does not start is passed over (pyenv leaves such behind). Its environment is
`.venv-3.13`, say, and is kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import setup

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/unit", "tests/threads", "tests/contract")


def candidates() -> Iterator[Path]:
    """Every supported interpreter's place, the newest version first; whether it starts is not known yet."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for name in setup.NEWER:
        yield from (folder / name for folder in folders if (folder / name).exists())


def version_of(python: Path) -> str:
    """As "3.13"; empty when it does not start or can make no virtual environment."""
    script = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info[:2]))"
    try:
        answer = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def main() -> int:
    """The exit status of the tests; 0 with a sentence when there is no other Python."""
    own = "{}.{}".format(*sys.version_info[:2])
    for python in candidates():
        version = version_of(python)
        if version not in ("", own):
            break
    else:
        print(f"the tests ran on Python {own} alone: there is no other from 3.11 to 3.14 on this machine")
        return 0
    venv = ROOT / f".venv-{version}"
    print(f"the unit, thread and contract tests on Python {version} ({python})", flush=True)
    steps = (
        [str(python), str(ROOT / "tools/setup.py"), "--venv", str(venv), "--packages-only"],
        [str(venv / "bin/python"), "-m", "pytest", "-q", *TESTS],
    )
    return next(
        (status for step in steps if (status := subprocess.run(step, cwd=ROOT, check=False).returncode)), 0
    )


if __name__ == "__main__":
    sys.exit(main())
