"""The packages that the engine needs beside the SDK's own: the extra `engine`.

Owns: `require`. Standard library and vocabulary only: it is asked before anything that needs them is imported.
"""

from __future__ import annotations

import re
from importlib import metadata

from utdstream.checks import CheckState, package_check
from utdstream.errors import InvalidConfig


def require() -> None:
    """Looks whether the extra `engine` is installed. Raises: InvalidConfig, with the command that installs it."""
    missing = [wanted for wanted in _wanted() if _is_missing(re.split(r"[^\w.-]", wanted)[0])]
    if missing:
        packages = " ".join(f"'{wanted}'" for wanted in missing)
        raise InvalidConfig(f"the engine needs packages that are not installed; run `pip install {packages}`")


def _wanted() -> list[str]:
    try:
        asked = metadata.requires("utdstream") or []
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return []
    return [each.split(";")[0].strip() for each in asked if re.search(r"extra == .engine\b", each)]


def _is_missing(distribution: str) -> bool:
    return package_check(distribution).state is CheckState.FAIL
