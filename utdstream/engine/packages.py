"""The packages that the engine needs beside the SDK's own: the extra `engine`.

Owns: `require`. Standard library and vocabulary only: it is asked before anything that needs them is imported.
"""

from __future__ import annotations

from utdstream.checks import CheckState, name_of, package_check, requirements
from utdstream.errors import InvalidConfig


def require() -> None:
    """Looks whether the extra `engine` is installed. Raises: InvalidConfig, with the command that installs it."""
    missing = [wanted for wanted in requirements("engine") if _is_missing(name_of(wanted))]
    if missing:
        packages = " ".join(f"'{wanted}'" for wanted in missing)
        raise InvalidConfig(f"the engine needs packages that are not installed; run `pip install {packages}`")


def _is_missing(distribution: str) -> bool:
    return package_check(distribution).state is CheckState.FAIL
