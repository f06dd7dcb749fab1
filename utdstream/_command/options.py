"""Options that several verbs of the command share.

Owns: their names and meanings, and errors in their words. Main thread.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from utdstream.errors import AuthenticationFailed
from utdstream.trust import worded_for

CA_FILE = "--ca-file (or UTD_CA_FILE)"
_BASE_URL = re.compile(r"\bbase_url\b")


def in_options(error: BaseException) -> str:
    """Says an error of the SDK in the words of a command line, with what to do."""
    words = _BASE_URL.sub("--base-url", worded_for(str(error), CA_FILE))
    if isinstance(error, AuthenticationFailed) and ";" not in words:  # an engine of another maker
        words += "; compare app id and app key (or secret) with those of the engine at this address"
    return words


def add_ca_file(parser: argparse.ArgumentParser) -> None:
    """Adds `--ca-file`, for what asks an engine."""
    given = os.environ.get("UTD_CA_FILE")
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=Path,
        default=Path(given) if given else None,
        help="PEM file of the authority that the engine's certificate is checked against (default: UTD_CA_FILE, "
        "else the system's)",
    )
